"""Members of one method, trained and scored together, and a nearest real row.

Members differ in their first weights, their noise and their rows: each batch is shared
out among them, so that several take about the arithmetic of one. The score of a row is
the mean of the scores of all members, each on the scale that it has for held-out normal
rows (`nn/_score_scale.py`). The mean distance to the nearest training rows is one
member more, if asked for.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from skanogan._runtime.processes import n_processes
from skanogan.models._model import Model
from skanogan.nn import Scaling
from skanogan.nn._metric import NearestRows
from skanogan.nn._rowwise import chunked
from skanogan.nn._score_scale import ScoreScale
from skanogan.nn._stacking import in_turns, stacked

__all__ = ["Ensemble"]


LEAST_DISTANCE = 0.01
"""Smallest mean squared distance to the nearest rows that logarithms are relative to,
in squared deviations of a column."""


class Ensemble(Model):
    """Members of one method, and perhaps a nearest real row, with one score.

    Parameters
    ----------
    members : sequence of Model
        Models of the same sizes, one or more.
    n_neighbors : int, default=0
        Number of nearest training rows whose mean distance is one score more. 0 stores
        no rows.
    """

    members: nn.ModuleList
    scales: nn.ModuleList
    neighbors: NearestRows
    _together: Model | None

    def __init__(self, members: Sequence[Model], n_neighbors: int = 0) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.n_neighbors = n_neighbors

    @property
    def scaling(self) -> Scaling:  # type: ignore[override]
        """The scaling that all members have."""
        return self._first.scaling

    @property
    def _first(self) -> Model:
        return self._models[0]

    @property
    def _models(self) -> list[Model]:
        return list(self.members)  # type: ignore[arg-type]

    # Training -----------------------------------------------------------------

    def start_training(self, rng: torch.Generator) -> None:
        # Several processes draw noise for whole batches, which cannot be shared out.
        self._shares_batches = n_processes() == 1
        self._together = _joined(self._models) if self._shares_batches else None
        for model in self._trained:
            model.start_training(rng)

    @property
    def _trained(self) -> list[Model]:
        """All members as one model, where their layers allow it, or one by one."""
        return self._models if self._together is None else [self._together]

    def train_step(self, x: Tensor) -> dict[str, Tensor]:
        n = len(self.members)
        if n == 1:
            return self._first.train_step(x)
        rows = in_turns(x, n) if self._shares_batches else x
        if self._together is not None:
            return self._together.train_step(rows)
        found = [
            model.train_step(rows[e::n] if self._shares_batches else rows)
            for e, model in enumerate(self._models)
        ]
        return {name: _mean([each[name] for each in found]) for name in found[0]}

    def training_parts(self) -> dict[str, torch.optim.Optimizer | Tensor]:
        return {
            name if k == 0 else f"{name}_{k}": part
            for k, model in enumerate(self._trained)
            for name, part in model.training_parts().items()
        }

    def is_whole_after(self, n_updates: int) -> bool:
        return self._first.is_whole_after(n_updates)

    def resume_training(self) -> None:
        for model in self._trained:
            model.resume_training()

    def validation_error(self, x: Tensor) -> Tensor | None:
        """Compute the mean error of the members for each row."""
        if self._together is not None:
            n = len(self.members)
            errors = self._together.validation_error(x.repeat_interleave(n, 0))
            return None if errors is None else errors.view(-1, n).mean(1)
        found = [model.validation_error(x) for model in self._models]
        known = [each for each in found if each is not None]
        return _mean(known) if known else None

    def finish_training(self) -> None:
        for model in self._trained:
            model.finish_training()
        if self._together is not None:
            _share_out(self._together, self._models)
        del self._together, self._shares_batches
        self.rest()

    # Scoring ------------------------------------------------------------------

    def prepare_scoring(self, x: Tensor, rng: torch.Generator) -> None:
        for model in self._models:
            model.prepare_scoring(x, rng)

    def store(self, x: Tensor) -> None:
        """Store the rows that `n_neighbors` are looked for in.

        Parameters
        ----------
        x : Tensor of shape (m, ...)
            Normal rows in X's units that were trained on.
        """
        rows = chunked(self._scaled, x)
        self.neighbors = NearestRows(rows, min(self.n_neighbors, len(rows))).eval()

    def fit_scales(self, x: Tensor) -> None:
        """Fix the scale of the score of each member. Rows are stored before.

        Parameters
        ----------
        x : Tensor of shape (m, ...)
            Normal rows in X's units that were not trained on.
        """
        self.scales = nn.ModuleList()
        if len(self._distances) > 1 or self.scores_are_lengths:
            for k, distance in enumerate(self._distances):
                is_member = k < len(self.members)
                logarithmic = self.scores_are_lengths or not is_member
                least = 1.0 if is_member else LEAST_DISTANCE
                scores = chunked(distance, x)
                self.scales.append(ScoreScale.fit(scores, logarithmic, least))
        self.scales.eval()

    @property
    def scores_are_lengths(self) -> bool:
        return self._first.scores_are_lengths

    @property
    def _distances(self) -> list[Callable[[Tensor], Tensor]]:
        """The score of each member, and the distance to the nearest rows."""
        distances: list[Callable[[Tensor], Tensor]] = []
        distances += [model.score for model in self._models]
        if self.n_neighbors:
            distances.append(lambda x: self.neighbors(self._scaled(x)))
        return distances

    def score(self, x: Tensor) -> Tensor:
        """Compute the mean of scaled scores, or the published score of one member.

        Half of the mean is that of the nearest rows, if there are any.
        """
        if not len(self.scales):
            return self._first.score(x)
        parts = zip(self.scales, self._distances, strict=True)
        scores = [scale(distance(x)) for scale, distance in parts]
        if not self.n_neighbors:
            return _mean(scores)
        return (_mean(scores[:-1]) + scores[-1]) / 2

    def reconstruct(self, x: Tensor) -> Tensor:
        """Take the closest of what the members draw and of the nearest row."""
        if not self._has_a_choice:
            return self._first.reconstruct(x)
        return self.scaling.inverse(self._closest(x))

    def residual_map(self, x: Tensor) -> Tensor:
        if not self._has_a_choice:
            return self._first.residual_map(x)
        return (self._scaled(x) - self._closest(x)).abs()

    def feature_map(self, x: Tensor) -> Tensor:
        """Compute the map of the member with the lowest score for each row."""
        models = self._models
        if len(models) == 1:
            return models[0].feature_map(x)
        parts = zip(self.scales, models, strict=False)
        lowest = torch.stack([scale(model.score(x)) for scale, model in parts]).argmin(
            0
        )
        maps = [model.feature_map(x) for model in models]
        return torch.stack(maps)[lowest, torch.arange(len(x), device=x.device)]

    @property
    def _has_a_choice(self) -> bool:
        return len(self.members) > 1 or self.n_neighbors > 0

    def _closest(self, x: Tensor) -> Tensor:
        """The normal row that is closest to x, on the networks' scale."""
        scaled = self._scaled(x)
        options = [self._scaled(model.reconstruct(x)) for model in self._models]
        if self.n_neighbors:
            options.append(self.neighbors.closest(scaled))
        rows = torch.stack(options)
        closest = (rows - scaled).square().flatten(2).sum(2).argmin(0)
        return rows[closest, torch.arange(len(x), device=x.device)]

    def embed(self, x: Tensor) -> Tensor:
        """Put the embeddings of all members side by side."""
        return torch.cat([model.embed(x) for model in self._models], dim=1)

    def sample(self, n_samples: int, rng: torch.Generator) -> Tensor:
        """Draw rows of all members in turns."""
        n = len(self.members)
        each = [model.sample(-(-n_samples // n), rng) for model in self._models]
        return torch.stack(each, dim=1).flatten(0, 1)[:n_samples]

    @property
    def floats_per_row(self) -> int:
        # One member is scored after the other.
        stored = len(self.neighbors.rows) if self.n_neighbors else 0
        return max(stored, *(model.floats_per_row for model in self._models))

    @contextmanager
    def in_few_steps(self) -> Iterator[None]:
        with ExitStack() as all_members:
            for model in self._models:
                all_members.enter_context(model.in_few_steps())
            yield

    def collapse(self, x: Tensor) -> float:
        """Compute the share of the member that has collapsed most."""
        return min(model.collapse(x) for model in self._models)


def _joined(members: list[Model]) -> Model | None:
    """Join the members to one model that trains on rows of all members in turns.

    None for a single member, for methods that do not treat each row alone, and for
    layers that cannot be stacked.
    """
    if len(members) == 1 or not members[0].trains_row_by_row:
        return None
    whole = copy.deepcopy(members[0])
    for name, _ in members[0].named_children():
        if name == "scaling":
            continue
        network = stacked([member.get_submodule(name) for member in members])
        if network is None:
            return None
        setattr(whole, name, network)
    return whole


def _share_out(whole: Model, members: list[Model]) -> None:
    """Copy the weights of joined members to each of them."""
    state = whole.state_dict()
    for e, member in enumerate(members):
        own = {k: v if k.startswith("scaling.") else v[e] for k, v in state.items()}
        member.load_state_dict(own)


def _mean(tensors: list[Tensor]) -> Tensor:
    return torch.stack(tensors).mean(0)

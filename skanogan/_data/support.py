"""Which rows are taken to be normal, where X may hold anomalies.

A few anomalies are directions of large variance. A metric that is estimated on them as
well takes them for ordinary. FAST-MCD (Rousseeuw & Van Driessen, Technometrics 1999)
estimates it on a share of the rows: it measures all rows, takes the share with the
least distances, and repeats both until nothing changes (concentration steps). Here the
distances are Mahalanobis lengths in the features of an untrained network.
"""

from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from skanogan._data.rows import Rows
from skanogan._data.split import Split
from skanogan._runtime.threads import at_most_threads
from skanogan._runtime.user_warnings import warn
from skanogan.exceptions import SupportWarning
from skanogan.nn import WhitenedMetric, build, mlp_discriminator

__all__ = ["SHARE", "supported"]

SHARE = 0.75
"""Share of the rows that the metric is estimated on, if none is given. Up to a quarter
of the rows may then be anomalies."""

SAMPLE = 2048
"""Most rows for the concentration steps. All rows are measured by their metric."""

SIZES = 128, 128
"""Hidden layers of the untrained network."""

STEPS = 8
"""Most concentration steps from one start."""

NEAR = 6.0
"""Rows are near if the logarithm of their distance exceeds the median by at most so
many robust deviations. Of the normal rows of 22 tables, 6 keeps 98 % and costs no
AUROC, 4 keeps 96 % and costs .001, and 3 keeps 94 % and costs .005."""

NO_SPREAD = 0.01
"""A smaller robust deviation of the logarithms means that most rows are equal. Nothing
can then be said of the others."""

FLATTENED = 0.1
"""A column in which the chosen rows deviate by a smaller share of all rows' deviation
is scaled anew, because a few huge values hide all others."""

FEWEST = 100
"""With fewer rows, "auto" leaves none out: in 256 features each of them is far from the
others. Of 33 and 53 normal rows it would leave out a quarter."""

FEW = 0.075
"""Largest share of the rows that "auto" leaves out. More rows are a kind of their
own. In a trial, at most .065 of the normal rows of each of 22 tables were far."""

TOLD = 0.01
"""If a larger share of the rows is far, a warning counts them."""

SIDE = 16
"""Images are averaged to at most so many pixels a side."""

CHUNK = 4096
"""Rows that are measured at once."""


def supported(
    parts: Split, rows: Rows, held_out: Rows, fraction: "float | str", shrinkage: float
) -> Split:
    """Leave out rows that are probably anomalies.

    `rows` and `held_out` are those of `parts`. `fraction` is the share of the rows to
    train on; "auto" takes all rows that are near, or all rows if more than `FEW` of
    them are far. Held-out rows stay if they are near, whatever the share, because the
    threshold is one for all normal rows. `shrinkage` is that of the metric.
    """
    if len(rows) < (FEWEST if fraction == "auto" else 2):
        return parts
    share = SHARE if fraction == "auto" else float(fraction)
    with at_most_threads(1), torch.no_grad():
        distance = _Distance(rows, share, shrinkage, parts.random_state)
        of_rows, of_held_out = distance.of(rows), distance.of(held_out)
    of_rows[distance.sample] = distance.of_sample
    near = of_rows <= distance.limit
    if fraction == "auto":
        if _too_many_are_far(int((~near).sum()), len(near)):
            return parts
    else:
        least = _least(of_rows, _count(share, len(rows)))
        near = torch.zeros_like(near).index_fill(0, least, True)
    near_others = of_held_out <= distance.limit
    near_others[of_held_out.argmin()] = True
    return replace(
        parts,
        kept=parts.kept[near.numpy()],
        held_out=parts.held_out[near_others.numpy()],
    )


def _too_many_are_far(n_far: int, n: int) -> bool:
    """Whether far rows are too many to be left out. Warn above a share of `TOLD`."""
    too_many = n_far > FEW * n
    if n_far > TOLD * n:
        effect = (
            "They are too many to be errors, so they are learned as normal. If they "
            "are anomalies, set support_fraction=0.75."
            if too_many
            else "They are left out, and such rows will be called anomalies."
        )
        warn(
            f"{n_far} of {n} training rows are far from nearly all others. {effect} If "
            "they are normal, set support_fraction=1 or pass y=np.ones(len(X)).",
            SupportWarning,
        )
    return too_many


class _Distance:
    """Distance of rows from a share of them, which is found on a sample.

    `sample` are the positions of the sample, `of_sample` its distances, each as if the
    row had not been in the sample, and `limit` is the largest distance of a near row.
    """

    def __init__(
        self, rows: Rows, share: float, shrinkage: float, rng: np.random.RandomState
    ) -> None:
        positions = np.sort(rng.permutation(len(rows))[:SAMPLE])
        self.sample = torch.from_numpy(positions)
        self._shrinkage = shrinkage
        self._scaling = rows.scaling()
        scaled = self._flat(rows.batch(self.sample))
        self._gain = torch.ones(scaled.shape[1], dtype=torch.float64)
        self._network = build(
            partial(mlp_discriminator, (scaled.shape[1],), SIZES, "all"),
            torch.Generator().manual_seed(int(rng.randint(np.iinfo(np.int32).max))),
        ).double()
        n_chosen = _count(share, len(positions))
        chosen = self._concentrated(scaled, n_chosen)
        spread = scaled[chosen].std(0, correction=0)
        flattened = (spread > 0) & (spread < FLATTENED)
        if len(rows.row_shape) == 1 and flattened.any():
            self._gain[flattened] = 1 / spread[flattened]
            scaled = scaled * self._gain
            chosen = self._concentrated(scaled, n_chosen)
        features = self._network.features(scaled)
        self._centre, self._metric = self._estimated(features[chosen])
        self.of_sample = self._measured(features, chosen)
        logarithms = self.of_sample.clamp(min=torch.finfo(torch.float64).tiny).log()
        median = logarithms.median()
        deviation = 1.4826 * (logarithms - median).abs().median()
        has_spread = bool(deviation > NO_SPREAD)
        self.limit = (median + NEAR * deviation).exp() if has_spread else torch.inf

    def of(self, rows: Rows) -> Tensor:
        """Compute the distance of each row, (n,), on the CPU."""
        parts = [
            self._lengths(self._network.features(self._flat(x) * self._gain))
            for x in (rows.stretch(k, k + CHUNK) for k in range(0, len(rows), CHUNK))
        ]
        return torch.cat(parts)

    def _flat(self, x: Tensor) -> Tensor:
        """Scaled columns, or pixels of small images, in float64 on the CPU."""
        scaled = self._scaling(x.cpu(), torch.float64)
        if scaled.ndim == 4:
            height, width = (min(side, SIDE) for side in scaled.shape[2:])
            scaled = nn.functional.adaptive_avg_pool2d(scaled, (height, width))
        return scaled.flatten(1)

    def _concentrated(self, scaled: Tensor, n_chosen: int) -> Tensor:
        """Choose rows by concentration steps from two starts; least volume wins."""
        features = self._network.features(scaled)
        starts = (
            scaled.abs().amax(1),
            (features - features.median(0).values).square().sum(1),
        )
        found = [self._steps(features, start, n_chosen) for start in starts]
        return min(found, key=lambda volume_and_rows: volume_and_rows[0])[1]

    def _steps(
        self, features: Tensor, distances: Tensor, n_chosen: int
    ) -> tuple[float, Tensor]:
        chosen = _least(distances, n_chosen)
        for _ in range(STEPS):
            self._centre, self._metric = self._estimated(features[chosen])
            before, chosen = chosen, _least(self._measured(features, chosen), n_chosen)
            if torch.equal(before, chosen):
                break
        rest = features.shape[1] - len(self._metric.gain)
        volume = -self._metric.gain.log().sum() - rest * self._metric.noise.log()
        return float(volume), chosen

    def _estimated(self, features: Tensor) -> tuple[Tensor, WhitenedMetric]:
        centre = features.mean(0)
        return centre, WhitenedMetric.fit(features - centre, self._shrinkage)

    def _measured(self, features: Tensor, chosen: Tensor) -> Tensor:
        """Lengths; those of the chosen rows as if the row had not been chosen.

        By the formula of Sherman and Morrison, the length q of one of n rows is
        q / (1 - q / n) in the metric of the others.
        """
        lengths = self._lengths(features)
        inside = lengths[chosen]
        lengths[chosen] = inside / (1 - inside / len(chosen)).clamp(min=1e-3)
        return lengths

    def _lengths(self, features: Tensor) -> Tensor:
        return self._metric.squared_length(features - self._centre)


def _least(distances: Tensor, n: int) -> Tensor:
    """Positions of the n least distances, in rising order."""
    return distances.argsort(stable=True)[:n].sort().values


def _count(share: float, n: int) -> int:
    return min(n, max(2, int(np.ceil(share * n))))

"""The scikit-learn interface shared by all detectors: plan, train, calibrate, score.

docs/architecture.md draws the path of one row through these files.
"""

import copy
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from torch import Tensor

from skanogan._data.array_api import as_numpy, like
from skanogan._data.labels import is_labelled, normal_rows
from skanogan._data.row_weights import check_weights, repeated
from skanogan._data.rows import Rows
from skanogan._data.split import Split, rows_to_hold_out
from skanogan._data.validation import check_rows
from skanogan._persistence.saving import SaveMixin
from skanogan._runtime.compatibility import (
    HAS_ARRAY_API,
    CallbackSupportMixin,
    HasMethods,
    Interval,
    StrOptions,
    _fit_context,
)
from skanogan._runtime.device import resolve_device, resolve_dtype
from skanogan._runtime.threads import at_most_threads, at_work, threads_to_train
from skanogan._runtime.user_warnings import warn
from skanogan._training.callbacks import FitTasks
from skanogan._training.run import TrainingPlan, TrainingRun
from skanogan._training.warm_start import continue_from, records_after
from skanogan.detectors._fit_plan import FitPlan, rows_of_fit
from skanogan.detectors._network_parameters import is_large
from skanogan.detectors._one_fit import as_of_now, fitted_in_one_step
from skanogan.detectors._pickling import PicklingMixin
from skanogan.detectors._row_methods import RowMethodsMixin
from skanogan.detectors._thresholds import (
    FEWEST_SCORES,
    ThresholdMixin,
    threshold,
    warn_of_few_rows,
)
from skanogan.exceptions import BatchSizeWarning, CollapseWarning
from skanogan.models import Ensemble, Model
from skanogan.nn import Scaling

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["BaseDetector"]

REFERENCE_ROWS = 2048
"""The largest number of training rows that scoring is prepared on (a matrix of this
size is decomposed), and of held-out rows that states are compared on."""

STORED_ROWS = 10_000
"""The largest number of training rows that a model stores for `n_neighbors`. On 22
tables of up to 5,000 rows, the nearest of all has an AUROC of .901, and of 2,048
.897."""

COLLAPSE = 0.05
"""If generated rows have less than this share of the data's variance, the model has
collapsed."""


class BaseDetector(
    CallbackSupportMixin,
    RowMethodsMixin,
    ThresholdMixin,
    SaveMixin,
    PicklingMixin,
    BaseEstimator,
    ABC,
):
    """Base class of all detectors.

    A method derives from it, names its parameters in ``__init__``, and implements
    `_make_model`. The other hooks have defaults: `_n_updates`, `_training_warnings`,
    `_training_advice` and `_scoring_parameters`. docs/adding_a_method.md shows a whole
    method.
    """

    _doc_link_module = "skanogan"

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "image_shape": [tuple, list, None],
        "n_estimators": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "max_iter": [StrOptions({"auto"}), Interval(Integral, 0, None, closed="left")],
        "batch_size": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "n_neighbors": [
            StrOptions({"auto"}),
            Interval(Integral, 0, None, closed="left"),
        ],
        "contamination": [
            StrOptions({"auto"}),
            Interval(Real, 0, 0.5, closed="right"),
        ],
        "support_fraction": [
            StrOptions({"auto"}),
            Interval(Real, 0, 1, closed="right"),
        ],
        "validation_fraction": [
            StrOptions({"auto"}),
            Interval(Real, 0, 1, closed="neither"),
        ],
        "random_state": ["random_state"],
        "device": [str, torch.device],
        "verbose": ["verbose"],
        "scoring_dtype": [StrOptions({"auto", "float32", "float64"})],
        "warm_start": ["boolean"],
        "memory": [str, os.PathLike, HasMethods("cache"), None],
        "checkpoint": [str, os.PathLike, None],
    }

    _scoring_parameters: ClassVar[frozenset[str]] = frozenset(
        {
            # These change rows and seeds, which enter the cache key by themselves.
            "image_shape",
            "n_neighbors",
            "validation_fraction",
            "random_state",
            "contamination",
            "support_fraction",
            "scoring_dtype",
            "warm_start",
            "memory",
            "checkpoint",
            "verbose",
            "device",
        }
    )
    """Parameters that do not change the trained weights. `memory` ignores them."""

    _training_advice: ClassVar[str] = "Lower the learning rate."
    """What to change if the training diverges or collapses."""

    _auto: ClassVar[dict[str, tuple[Any, Any]]] = {}
    """What "auto" means for a parameter: for most rows, and for large images."""

    # Parameters that the __init__ of each detector sets.
    n_estimators: int | str = 1
    image_shape: tuple[int, ...] | None
    max_iter: int | str
    n_neighbors: int | str = 0
    batch_size: int | str
    contamination: float | str
    support_fraction: float | str = 1
    validation_fraction: float | str
    random_state: Any
    device: str | torch.device
    verbose: int
    scoring_dtype: str
    warm_start: bool
    memory: Any = None
    checkpoint: str | os.PathLike[str] | None = None

    # Attributes that `fit` sets, beside those of RowMethodsMixin and ThresholdMixin.
    history_: list[dict[str, float]]
    n_iter_: int
    support_: NDArray[np.bool_]
    feature_names_in_: np.ndarray

    # Hooks --------------------------------------------------------------------

    @abstractmethod
    def _make_model(
        self,
        scaling: Scaling,
        row_shape: tuple[int, ...],
        rng: torch.Generator | None,
    ) -> Model:
        """Make an untrained model on the CPU.

        Parameters
        ----------
        scaling : Scaling
            From the units of X to those of the networks.
        row_shape : tuple of int
            (d,) or (H, W, C).
        rng : torch.Generator or None
            On the CPU; the only source of first weights. None makes networks without
            weights, whose sizes `load` compares with a file.
        """

    def _n_updates(self) -> int:
        """The number of updates of all stages of the training."""
        return int(self._resolved("max_iter"))

    def _training_warnings(
        self, history: list[dict[str, float]]
    ) -> list[tuple[type[Warning], str]]:
        """Warnings that the records of this fit give reason for."""
        return []

    # Fit ----------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> "Self":
        """Learn from normal rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), (n_samples, H, W) or \
                (n_samples, H, W, C)
            Normal rows, in any numeric dtype and any units.
        y : array-like of shape (n_samples,), default=None
            1 for normal rows, -1 for anomalies, which are left out of the fit. All 1
            means that all rows are normal. Other labels without a -1 are ignored, with
            a warning.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of rows in the training, the metric and the threshold. A row with
            twice the weight of another counts as two such rows. A row with 0 is left
            out.

        Returns
        -------
        self : object
            The fitted detector. If `fit` fails or is interrupted, the detector is as it
            was before. With a `checkpoint`, another call resumes from the last record.
        """
        # Training cannot use the tensors that torch.inference_mode makes.
        with at_work(), torch.inference_mode(False), fitted_in_one_step(self) as work:
            # Callbacks are told of this detector, on which scikit-learn set them up.
            work._fit(
                X, y, sample_weight, lambda n_records: FitTasks(self, n_records, X, y)
            )
        return self

    def _fit(
        self, X: Any, y: Any, sample_weight: Any, begin: Callable[[int], FitTasks]
    ) -> None:
        plan = self._plan(X, y, sample_weight)
        training = plan.training
        tasks = begin(training.n_records)
        with at_most_threads(
            threads_to_train(self._row_shape(), training.model.n_weights)
        ):
            with self._run(training) as run:
                while not run.is_over:
                    tasks.record_begins()
                    run.advance()
                    stop = tasks.record_ends(
                        lambda: self._calibrate(plan, run.model_now(), run.history)
                    )
                    if stop:
                        run.stop()
                run.finish()
            fitted = self._calibrate(plan, training.model, run.history)
        self.__dict__.update(fitted)
        for category, message in [*run.remarks, *self._training_warnings(run.history)]:
            warn(message, category)
        if self.n_iter_:
            self._warn_of_collapse(plan.reference)
        tasks.fit_ends(lambda: fitted)

    def _plan(self, X: Any, y: Any, sample_weight: Any) -> FitPlan:
        """Validate and split the rows, and make the untrained model."""
        is_warm = self.warm_start and hasattr(self, "model_")
        first_shape = self._row_shape() if is_warm else None
        device = resolve_device(self.device)
        values, y = check_rows(self, X, reset=True), as_numpy(y)
        normal = normal_rows(y, len(values))
        weights = check_weights(sample_weight, values)
        if weights is not None:
            normal = normal[weights[normal] > 0]
        self._check_fit(first_shape, len(normal))
        parts, rows = rows_of_fit(self, values, normal, weights, is_labelled(y), device)
        support = np.zeros(len(values), bool)
        support[parts.kept] = support[parts.held_out] = True
        support = like(X, support)
        stream = parts.random_state
        reference = rows.some(REFERENCE_ROWS, stream)
        rng = torch.Generator().manual_seed(int(parts.seeds[0]))
        model = self._make_ensemble(rows.scaling(), self._row_shape(), rng).to(device)
        if is_warm:
            continue_from(self.model_, model)
        calibrates = self.contamination == "auto"
        n_needed = rows_to_hold_out(FEWEST_SCORES, self.validation_fraction)
        sizes = len(np.unique(parts.held_out)), len(normal), n_needed
        warn_of_few_rows(self.contamination, *sizes, "rows")
        return FitPlan(
            values=values,
            calibration_rows=(
                np.sort(parts.held_out) if calibrates else repeated(normal, weights)
            ),
            support=support,
            reference=reference,
            stored=rows.some(STORED_ROWS, stream) if model.n_neighbors else None,
            scoring_seed=int(parts.seeds[3]),
            earlier_records=list(self.history_) if is_warm else [],
            training=self._training_plan(model, rows, parts),
        )

    def _make_ensemble(
        self,
        scaling: Scaling,
        row_shape: tuple[int, ...],
        rng: torch.Generator | None,
    ) -> Ensemble:
        """Make the untrained members, one after the other from `rng`."""
        members = [
            self._make_model(copy.deepcopy(scaling), row_shape, rng)
            for _ in range(self._resolved("n_estimators"))
        ]
        n_neighbors = self.n_neighbors
        if n_neighbors == "auto":
            finds_any = not is_large(row_shape) and members[0].scores_are_lengths
            n_neighbors = int(finds_any)
        return Ensemble(members, int(n_neighbors))

    def _resolved(self, name: str) -> Any:
        """Return a parameter, or what its "auto" means for these rows."""
        value = getattr(self, name)
        if value != "auto":
            return value
        return self._auto[name][is_large(self._row_shape())]

    def _training_plan(self, model: Ensemble, rows: Rows, parts: Split) -> TrainingPlan:
        batch_size = self.batch_size
        if batch_size == "auto":
            batch_size = 128 if self.image_shape_ is None else 64
        elif int(batch_size) > len(rows):
            warn(
                f"batch_size={batch_size} is larger than the {len(rows)} rows to train "
                'on, so every batch holds all rows. Set batch_size="auto" or a smaller '
                "value.",
                BatchSizeWarning,
            )
        return TrainingPlan(
            model=model,
            rows=rows,
            held_out=rows.others(parts.held_out[:REFERENCE_ROWS]),
            n_updates=self._n_updates(),
            batch_size=int(batch_size),
            n_iter_no_change=getattr(self, "n_iter_no_change", None),
            batch_seed=int(parts.seeds[1]),
            noise_seed=int(parts.seeds[2]),
            parameters=self._training_parameters(),
            advice=self._training_advice,
        )

    def _run(self, training: TrainingPlan) -> TrainingRun:
        return TrainingRun(
            training,
            # Without a seed, the same training is never asked for again.
            memory=None if self.random_state is None else self.memory,
            checkpoint=self.checkpoint,
            name=type(self).__name__,
            verbose=self.verbose,
        )

    def _calibrate(
        self, plan: FitPlan, model: Ensemble, history: list[dict[str, float]]
    ) -> dict[str, Any]:
        """Compute all attributes from a model whose training has ended."""
        device, is_image = plan.training.rows.device, self.image_shape_ is not None
        model.to(resolve_dtype(self.scoring_dtype, is_image, device))
        with torch.no_grad():
            rng = torch.Generator().manual_seed(plan.scoring_seed)
            model.prepare_scoring(plan.reference, rng)
            if plan.stored is not None:
                model.store(plan.stored)
            model.fit_scales(plan.training.held_out.all())
        fitted = as_of_now(self)
        fitted.model_, fitted.device_, fitted.support_ = model, device, plan.support
        fitted.history_ = [
            *plan.earlier_records,
            *records_after(plan.earlier_records, history),
        ]
        fitted.n_iter_ = int(fitted.history_[-1]["n_iter"]) if fitted.history_ else 0
        rows, number = np.unique(plan.calibration_rows, return_counts=True)
        scores = fitted._scores(plan.values, rows).repeat(number)
        fitted.offset_ = threshold(scores, self.contamination)
        return vars(fitted)

    def _check_fit(self, first_shape: tuple[int, ...] | None, n_normal: int) -> None:
        """Refuse what cannot be trained on. A warm start knows the first row shape."""
        if first_shape not in (None, self._row_shape()):
            raise ValueError(
                f"X has rows of shape {self._row_shape()}, but the first fit had "
                f"{first_shape}, and warm_start=True continues on rows of the same "
                "shape. Use warm_start=False."
            )
        if n_normal < 2:
            raise ValueError(
                f"Found {n_normal} row(s) with y=1 while a minimum of 2 is required "
                f"by {type(self).__name__}, which learns from normal rows."
            )
        if self.checkpoint is not None and not isinstance(self.random_state, Integral):
            raise ValueError(
                f"checkpoint was given with random_state={self.random_state!r}. A "
                "second fit would be another training, which cannot resume. Set "
                "random_state to an integer."
            )

    def _training_parameters(self) -> dict[str, Any]:
        """The class and the parameters that the trained weights depend on."""
        parameters: dict[str, Any] = self.get_params(deep=False)
        return {
            "detector": type(self).__qualname__,
            **{
                name: value
                for name, value in parameters.items()
                if name not in self._scoring_parameters
            },
        }

    def _warn_of_collapse(self, rows: Tensor) -> None:
        with torch.no_grad():
            ratio = self.model_.collapse(rows)
        if ratio < COLLAPSE:
            warn(
                f"The model has collapsed: generated rows have {ratio:.1%} of the "
                "variance of the training rows. Reconstructions and maps will be poor. "
                f"Check the scores on held-out normal rows. {self._training_advice} "
                "More updates (max_iter) or another random_state may also help.",
                CollapseWarning,
            )

    # Tags ----------------------------------------------------------------------

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.array_api_support = HAS_ARRAY_API
        # On other devices than a CPU, float32 scores of a row alone and in a batch
        # differ by about 1e-7, which is the tolerance of scikit-learn's checks.
        tags.non_deterministic = self._scores_in_float32()
        return tags

    def _scores_in_float32(self) -> bool:
        if hasattr(self, "model_"):
            return next(self.model_.parameters()).dtype == torch.float32
        if self.scoring_dtype == "auto":
            return self.image_shape is not None
        return self.scoring_dtype == "float32"

"""The scikit-learn border, once for all detectors: validate, train, threshold, score.

The way of one row is drawn in docs/architecture.md.
"""

import copy
import math
import os
import warnings
from abc import ABC, abstractmethod
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from skanogan._calibration import threshold
from skanogan._callbacks import FitTasks
from skanogan._chunks import in_chunks, to_numpy
from skanogan._compat import (
    CallbackSupportMixin,
    HasMethods,
    Interval,
    StrOptions,
    _fit_context,
    validate_data,
)
from skanogan._device import precision, resolve_device, resolve_dtype
from skanogan._inputs import (
    Rows,
    as_numbers,
    flatten_images,
    refuse_masks,
    with_channels,
)
from skanogan._labels import LabelsHeededMixin, normal_rows
from skanogan._rollback import as_before_on_failure
from skanogan._split import split
from skanogan._threads import (
    at_most_threads,
    at_work,
    threads_to_score,
    threads_to_train,
)
from skanogan._trainings import Job, carry_out
from skanogan._warm_start import go_on_from, records_after
from skanogan.exceptions import (
    BatchSizeWarning,
    CollapseWarning,
    DeviceFallbackWarning,
    ImageShapeWarning,
)
from skanogan.models import Model

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["BaseDetector"]

REFERENCE_ROWS = 2048
"""Most training rows the scoring is prepared on (a matrix this size is decomposed), and
most held-out rows that states are compared on."""

FITTED = ("model_", "device_", "history_", "n_iter_", "offset_")
"""What training and its end set, beside what validation does."""

COLLAPSE = 0.05
"""Below this share of the data's variance what the model draws counts as collapsed."""


class BaseDetector(CallbackSupportMixin, LabelsHeededMixin, BaseEstimator, ABC):
    """What every detector shares; a method adds its parameters and `_make_model`."""

    _doc_link_module = "skanogan"

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "image_shape": [tuple, list, None],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "validation_fraction": [
            StrOptions({"auto"}),
            Interval(Real, 0, 1, closed="neither"),
        ],
        "contamination": [
            StrOptions({"auto"}),
            Interval(Real, 0, 0.5, closed="right"),
        ],
        "scoring_dtype": [StrOptions({"auto", "float32", "float64", "bfloat16"})],
        "warm_start": ["boolean"],
        "memory": [str, os.PathLike, HasMethods("cache"), None],
        "checkpoint": [str, os.PathLike, None],
        "verbose": ["verbose"],
        "device": [str, torch.device],
        "random_state": ["random_state"],
    }

    _not_of_training: ClassVar[frozenset[str]] = frozenset(
        {
            # What they change of the rows and seeds counts by itself.
            "image_shape",
            "validation_fraction",
            "random_state",
            "contamination",
            "scoring_dtype",
            "warm_start",
            "memory",
            "checkpoint",
            "verbose",
            "device",
        }
    )
    """Parameters that leave the trained weights as they are (`memory`)."""

    _advice_on_training: ClassVar[str]
    """What to change when training diverges or collapses."""

    # Parameters that each detector's __init__ sets.
    image_shape: tuple[int, ...] | None
    max_iter: int
    batch_size: int | str
    validation_fraction: float | str
    contamination: float | str
    scoring_dtype: str
    warm_start: bool
    memory: Any = None
    checkpoint: str | os.PathLike[str] | None = None
    verbose: int
    device: str | torch.device
    random_state: Any

    # What `fit` sets.
    model_: Model
    offset_: float
    history_: list[dict[str, float]]
    n_iter_: int
    n_features_in_: int
    feature_names_in_: np.ndarray
    image_shape_: tuple[int, int, int] | None
    device_: torch.device
    _sample_shape: tuple[int, ...]

    @abstractmethod
    def _make_model(
        self, rows: Rows, row_shape: tuple[int, ...], rng: torch.Generator | None
    ) -> Model:
        """Make an untrained model on the CPU.

        Parameters
        ----------
        rows : Rows
            The rows to train on, to fix the scaling by.
        row_shape : tuple of int
            (d,) or (H, W, C).
        rng : torch.Generator or None
            On the CPU; the only source of first weights. None is for networks without
            weights, whose sizes are compared with a file before they are made.
        """

    # Fit ----------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> "Self":
        """Learn what normal rows look like.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), (n_samples, H, W) or \
                (n_samples, H, W, C)
            Normal rows, in any numeric dtype and any units.
        y : array-like of shape (n_samples,), default=None
            1 for normal rows, -1 for anomalies, which are then left out of the fit.
            Labels without a -1 are ignored, with a warning unless all are 1.

        Returns
        -------
        self : object
            The fitted detector. If anything fails or is interrupted, it is as it was
            before; with a `checkpoint`, another call goes on from its last record.
        """
        # Also inside torch.inference_mode, whose tensors no training can use.
        with as_before_on_failure(self), at_work(), torch.inference_mode(False):
            return self._fit(X, y)

    def _fit(self, X: Any, y: Any) -> "Self":
        warm = self.warm_start and hasattr(self, "model_")
        first_shape = self._row_shape() if warm else None
        device = resolve_device(self.device)
        values = self._check_rows(X, reset=True)
        normal = normal_rows(y, len(values))
        self._check_fit(first_shape, len(normal))
        parts = split(
            normal,
            self._row_shape(),
            self.validation_fraction,
            self.random_state,
            device,
        )
        if isinstance(self.batch_size, Integral) and self.batch_size > len(parts.kept):
            warnings.warn(
                f"batch_size={self.batch_size} with {len(parts.kept)} rows to train "
                'on: every batch is all of them. Set batch_size="auto" or a smaller '
                "one.",
                BatchSizeWarning,
                stacklevel=4,
            )
        rows = Rows(values, self.image_shape_, device, parts.kept)
        unseen = parts.unseen[:REFERENCE_ROWS]
        unseen_rows = Rows(values, self.image_shape_, device, unseen, resident=False)
        reference = rows.some(REFERENCE_ROWS, parts.random_state)

        rng = torch.Generator().manual_seed(int(parts.seeds[0]))
        model = self._make_model(rows, self._row_shape(), rng).to(device)
        before = list(self.history_) if warm else []
        if warm:
            go_on_from(self.model_, model)

        def ready(model: Model, history: list[dict[str, float]]) -> dict[str, Any]:
            """The fitted attributes, from a model whose training has ended."""
            # Not copy.copy, which would take the model of an earlier fit along.
            fitted = object.__new__(type(self))
            fitted.__dict__.update(self.__dict__)
            fitted._make_ready(model, reference, int(parts.seeds[3]), device)
            fitted.history_ = [*before, *records_after(before, history)]
            fitted.n_iter_ = int(fitted.history_[-1]["n_iter"])
            calibrates = self.contamination == "auto"
            calibrating = np.sort(parts.unseen) if calibrates else normal
            scores = fitted._score_values(values, calibrating)
            fitted.offset_ = threshold(scores, self.contamination)
            return {name: getattr(fitted, name) for name in FITTED}

        job = Job(
            model=model,
            rows=rows,
            held_out=unseen_rows,
            n_updates=self._n_updates(),
            batch_size=self._batch_size(),
            n_iter_no_change=self._patience(),
            seeds=parts.seeds[1:3],
            parameters={
                "detector": type(self).__qualname__,
                **self._training_parameters(),
            },
            advice=self._advice_on_training,
            name=type(self).__name__,
            verbose=self.verbose,
            repeatable=self.random_state is not None,
            memory=self.memory,
            checkpoint=self.checkpoint,
        )
        tasks = FitTasks(self, job.n_records, X, y)
        with at_most_threads(threads_to_train(self._row_shape(), model.n_weights)):
            training = carry_out(job, tasks, ready)
            fitted = ready(model, training.history)
        for name, value in fitted.items():
            setattr(self, name, value)
        for category, message in training.remarks + self._remarks(training.history):
            warnings.warn(message, category, stacklevel=4)
        self._warn_of_collapse(reference)
        tasks.fit_ends(lambda: fitted)
        return self

    def _check_fit(self, first_shape: tuple[int, ...] | None, n_normal: int) -> None:
        """Refuse what cannot be trained on, before anything is made.

        Parameters
        ----------
        first_shape : tuple of int or None
            Of a row of the fit before, where a warm start goes on from there.
        n_normal : int
            Rows to learn from.
        """
        if first_shape not in (None, self._row_shape()):
            raise ValueError(
                f"warm_start=True continues on rows of the same shape: got "
                f"{self._row_shape()}, and the first fit had {first_shape}. Use "
                "warm_start=False."
            )
        if n_normal < 2:
            raise ValueError(
                f"Found {n_normal} row(s) with y=1 while a minimum of 2 is required "
                f"by {type(self).__name__}: normal rows are what it learns from."
            )
        if self.checkpoint is not None and not isinstance(self.random_state, Integral):
            raise ValueError(
                f"checkpoint was given with random_state={self.random_state!r}: a "
                "second fit would be another training and could not go on. Set "
                "random_state to an integer."
            )

    def _make_ready(
        self, model: Model, reference: Tensor, seed: int, device: torch.device
    ) -> None:
        """Take a trained model to the precision of scoring and fix its scores."""
        is_image = self.image_shape_ is not None
        model.to(resolve_dtype(self.scoring_dtype, is_image, device))
        with torch.no_grad(), precision(self.scoring_dtype, device):
            model.prepare_scoring(reference, torch.Generator().manual_seed(seed))
        self.model_ = model
        self.device_ = device

    def _training_parameters(self) -> dict[str, Any]:
        """Parameters that weights depend on, beside the rows and the seeds."""
        parameters: dict[str, Any] = self.get_params(deep=False)
        return {
            name: value
            for name, value in parameters.items()
            if name not in self._not_of_training
        }

    def _warn_of_collapse(self, rows: Tensor) -> None:
        with torch.no_grad(), precision(self.scoring_dtype, self.device_):
            ratio = self.model_.collapse(rows)
        if ratio < COLLAPSE:
            warnings.warn(
                f"The model has collapsed: the rows it draws have {ratio:.1%} of the "
                "variance of the training rows, so most normal rows will look "
                f"anomalous. {self._advice_on_training} More updates (max_iter) or "
                "another random_state may also help.",
                CollapseWarning,
                stacklevel=5,
            )

    # Scores -------------------------------------------------------------------

    def score_samples(self, X: Any) -> np.ndarray:
        """How normal each row is: minus the method's anomaly score.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), (n_samples, H, W) or \
                (n_samples, H, W, C)
            Rows of the shape seen in `fit`, as images or flat.

        Returns
        -------
        scores : ndarray of shape (n_samples,), float64
            Higher is more normal. A function of each row alone.
        """
        return self._score_values(self._check_fitted_rows(X))

    def decision_function(self, X: Any) -> np.ndarray:
        """`score_samples` less the threshold `offset_`; negative is an outlier.

        Parameters
        ----------
        X : array-like
            As in `score_samples`.

        Returns
        -------
        scores : ndarray of shape (n_samples,), float64
            Negative is an outlier.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """Label rows 1 (normal) or -1 (anomaly).

        Parameters
        ----------
        X : array-like
            As in `score_samples`.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int
            1 or -1.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    # More than a score --------------------------------------------------------

    def reconstruct(self, X: Any) -> np.ndarray:
        """The closest normal thing the model can draw.

        Parameters
        ----------
        X : array-like
            As in `score_samples`.

        Returns
        -------
        drawn : ndarray of the shape of X, float64
            In the units of X.
        """
        drawn = self._in_chunks("reconstruct", self._check_fitted_rows(X))
        return drawn.reshape(len(drawn), *(flatten_images(X)[1] or (-1,)))

    def anomaly_map(
        self, X: Any, *, kind: str = "residual", smoothing: float = 0.0
    ) -> np.ndarray:
        """Where each row departs from the closest normal thing.

        Parameters
        ----------
        X : array-like
            As in `score_samples`.
        kind : {"residual", "features"}, default="residual"
            "residual" compares values: the absolute difference from `reconstruct(X)`.
            "features" compares what the network makes of them. In the convolutional
            networks built here, that is the squared length of the difference of hidden
            activations at each position, in units of what it is for normal rows, the
            mean over all blocks. In others, it is what each entry adds to the whitened
            distance between the two: the absolute difference times the mean gradient
            on the way from one to the other.
        smoothing : float, default=0.0
            Standard deviation, in pixels, of a Gaussian that each image's map is
            smoothed with, mirrored at the borders. Images only.

        Returns
        -------
        maps : ndarray of shape (n_samples, n_features) or (n_samples, H, W), float64
            Non-negative, a function of each row alone. Residuals of tables are in
            standard deviations of the column, those of images in halves of the training
            range of the pixels (0 to 2 for images in that range), the mean over
            channels. "features" has no unit; from the activations of the networks
            built here, it is about 1 (.7 to 1) on average over normal rows.

        Raises
        ------
        ValueError
            For another `kind`, and for `smoothing` below 0 or of tables.
        """
        functions = {"residual": "residual_map", "features": "feature_map"}
        if kind not in functions:
            raise ValueError(f"kind={kind!r}: one of {sorted(functions)} was expected.")
        check_is_fitted(self)
        if not isinstance(smoothing, Real) or not 0 <= smoothing < math.inf:
            raise ValueError(
                f"smoothing={smoothing!r}: a standard deviation in pixels, of 0 or "
                "more, was expected."
            )
        if smoothing and self.image_shape_ is None:
            raise ValueError(
                f"smoothing={smoothing!r} of a table: columns have no neighbours. Use "
                "smoothing=0, or image_shape if the rows are images."
            )
        values = self._check_fitted_rows(X)
        maps = self._in_chunks(functions[kind], values)
        if self.image_shape_ is None:
            return maps
        height, width, _ = self.image_shape_
        maps = maps.reshape(len(maps), height, width, -1).mean(-1)
        if smoothing:
            maps = gaussian_filter(maps, (0, smoothing, smoothing))
        return maps

    def embed(self, X: Any) -> np.ndarray:
        """Rows as the model sees them.

        Parameters
        ----------
        X : array-like
            As in `score_samples`.

        Returns
        -------
        embedding : ndarray of shape (n_samples, d), float64
            The discriminator's features for AnoGAN, the code for OCGAN.
        """
        values = self._check_fitted_rows(X)
        return self._in_chunks("embed", values)

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Draw new normal rows.

        Parameters
        ----------
        n_samples : int, default=1
            How many.
        random_state : int, RandomState instance or None, default=None
            Given an int, the same rows each time.

        Returns
        -------
        rows : ndarray of shape (n_samples, ...), float64
            In the units and, for images, the shape of the X that was fitted.
        """
        check_is_fitted(self)
        if not isinstance(n_samples, Integral) or n_samples < 1:
            raise ValueError(
                f"n_samples={n_samples!r}: an integer of at least 1 was expected."
            )
        seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
        n_threads = threads_to_score(
            self._row_shape(), self.model_.n_weights, int(n_samples)
        )
        with at_work(), torch.no_grad(), at_most_threads(n_threads):
            rng = torch.Generator().manual_seed(int(seed))
            rows = to_numpy(self.model_.sample(int(n_samples), rng))
        return rows.reshape(len(rows), *self._sample_shape)

    def _score_values(
        self, values: np.ndarray, indices: np.ndarray | None = None
    ) -> np.ndarray:
        """`score_samples` without validation, of all rows or of these."""
        scores = -self._in_chunks("score", values, indices)
        if not np.isfinite(scores).all():
            n_bad = int((~np.isfinite(scores)).sum())
            raise FloatingPointError(
                f"{n_bad} of {len(scores)} scores are not finite: the values of these "
                "rows are too large for the networks. Scale X, for instance with "
                "sklearn.preprocessing.RobustScaler."
            )
        return scores

    def _in_chunks(
        self, method: str, values: np.ndarray, indices: np.ndarray | None = None
    ) -> np.ndarray:
        """Apply a row-wise method of the model to these rows, chunk by chunk."""
        rows = Rows(values, self.image_shape_, self.device_, indices, resident=False)
        function = getattr(self.model_, method)
        return in_chunks(function, self.model_, rows, self.scoring_dtype)

    # Validation ---------------------------------------------------------------

    def _check_rows(self, X: Any, *, reset: bool) -> np.ndarray:
        """Validated flat rows of shape (n, d); with `reset`, shapes are learned."""
        name = type(self).__name__
        refuse_masks(X)
        X, seen = flatten_images(X)
        if reset:
            asked = with_channels(self.image_shape)
            expected = asked or with_channels(seen)
        else:
            expected = self.image_shape_
        if seen is not None and with_channels(seen) != expected:
            wanted = expected or f"flat rows of {self.n_features_in_} features"
            raise ValueError(
                f"X holds images of shape {tuple(seen)}, but {name} is expecting "
                f"{wanted}{' (image_shape)' if reset else ' as in fit'}. Resize the "
                "images, or fit again on images of this shape."
            )
        try:
            # scikit-learn looks at the sum first, which may not be finite.
            with np.errstate(invalid="ignore"):
                checked = validate_data(
                    self, X, reset=reset, ensure_min_samples=2 if reset else 1
                )
        except OverflowError as error:  # of a Python integer
            raise ValueError(
                f"X holds a number that float64 cannot: {error}. Divide X."
            ) from error
        values = as_numbers(checked)
        if not reset:
            return values
        if expected is not None and math.prod(expected) != values.shape[1]:
            raise ValueError(
                f"X has {values.shape[1]} features a row, but image_shape="
                f"{self.image_shape!r} needs {math.prod(expected)}."
            )
        if expected is not None and expected[0] in (1, 3, 4) and expected[2] > 4:
            warnings.warn(
                f"Images of shape {expected} were taken as {expected[0]} pixels high, "
                f"with {expected[2]} channels. If their channels come first, bring "
                "them last: np.moveaxis(X, 1, -1).",
                ImageShapeWarning,
                stacklevel=5,
            )
        self.image_shape_ = expected
        self._sample_shape = tuple(seen or (values.shape[1],))
        return values

    def _check_fitted_rows(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return self._check_rows(X, reset=False)

    def _n_updates(self) -> int:
        """Of all stages of the training."""
        return self.max_iter

    def _patience(self) -> int | None:
        """Updates without a lower validation error after which training ends."""
        return None

    def _remarks(
        self, history: list[dict[str, float]]
    ) -> list[tuple[type[Warning], str]]:
        """What a method has to say of its training."""
        return []

    def _batch_size(self) -> int:
        if self.batch_size == "auto":
            return 128 if self.image_shape_ is None else 64
        return int(self.batch_size)

    def _row_shape(self) -> tuple[int, ...]:
        return self.image_shape_ or (self.n_features_in_,)

    # Files, tags and pickling -------------------------------------------------

    def save(self, path: "str | os.PathLike[str]") -> None:
        """Write the fitted detector to a file that `skanogan.load` reads.

        Numbers and text, without pickle: opening such a file executes nothing. What is
        stored, and what is not, is in docs/saving.md.

        Parameters
        ----------
        path : str or path
            A file that is there is replaced in one step, or left as it is on failure.

        Raises
        ------
        TypeError
            If a parameter cannot be stored, such as a RandomState instance.
        ValueError
            If a parameter of the model was changed since `fit`.
        OSError
            If the file cannot be written.
        """
        # Imported here, as it finds the detectors of the package, which stand on this.
        from skanogan._persistence.detectors import save

        save(self, path)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        # In float32 a row alone and in a batch differ by about 1e-7, the very
        # tolerance of scikit-learn's checks: the tag says so for such an instance.
        tags.non_deterministic = self._scores_in_float32()
        return tags

    def _scores_in_float32(self) -> bool:
        if hasattr(self, "model_"):
            return next(self.model_.parameters()).dtype == torch.float32
        if self.scoring_dtype == "auto":
            return self.image_shape is not None
        return self.scoring_dtype in ("float32", "bfloat16")

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if "model_" in state and self.device_.type != "cpu":
            state = {**state, "model_": copy.deepcopy(self.model_).cpu()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if not hasattr(self, "model_"):
            return
        try:
            device = resolve_device(self.device)
        except ValueError as error:
            device = torch.device("cpu")
            warnings.warn(
                f'Opened on the CPU: {error} Set device="auto" before saving to '
                "silence this.",
                DeviceFallbackWarning,
                stacklevel=2,
            )
        if device.type == "mps":
            self.model_.float()
        self.model_.to(device)
        self.device_ = device

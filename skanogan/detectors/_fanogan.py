"""FAnoGANDetector: the parameters of f-AnoGAN, and how they become a model."""

import os
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar

import torch
from torch import nn

from skanogan._persistence.registry import register_detector
from skanogan._runtime.compatibility import Interval, StrOptions
from skanogan.detectors._gan import GAN_NETWORKS, GANDetector
from skanogan.detectors._network_parameters import (
    RUNNING,
    THRESHOLD,
    is_convolutional,
    resolve_shrinkage,
)
from skanogan.models import EncoderTraining, FAnoGAN
from skanogan.models._fanogan import FANOGAN_SCORES
from skanogan.nn import Scaling, build, convolutional_encoder, mlp_encoder

__all__ = ["FAnoGANDetector"]


@register_detector
class FAnoGANDetector(GANDetector):
    """Anomaly detection with a GAN and an encoder that inverts it.

    A generator G learns to draw normal rows, then an encoder E learns to find the
    latent that draws a given row. The score is how far a row x is from G(E(x)). AnoGAN
    asks the same question and searches the latent; here it takes one pass [1]_. By
    default the distance is measured in the hidden activations f of the discriminator,
    whitened by the second moment of f(x) - f(G(E(x))) for normal rows.

    The score of a row depends on it alone. The parameters come in five groups: networks
    (from `backbone`), training (from `n_estimators`), score (from `anomaly_score`),
    threshold (from `contamination`) and running (from `random_state`). Large images,
    for which some defaults differ, have 256 pixels or more.

    Parameters
    ----------
    backbone : {"auto", "mlp", "convolutional"}, default="auto"
        "auto" is "convolutional" (DCGAN) for images of 8 x 8 pixels or more, or "mlp".
    generator : torch.nn.Module, default=None
        Network of your own, from (n, latent_dim) to (n, n_features) or (n, C, H, W), on
        the scale of standardised columns or of pixels in [-1, 1]. The fit trains all
        weights of a copy, from the values that they have. Set `latent_dim` as well.
    discriminator : torch.nn.Module, default=None
        Network of your own with one logit per row and a method ``features(x)``, or a
        ``torch.nn.Sequential`` that ends in the logit. The fit trains a copy.
    hidden_layer_sizes : tuple of int, default=(256, 256)
        Hidden layers of the MLP generator, of the discriminator and of the encoder. If
        a table has more columns than the sum of these sizes, the columns are features
        too.
    n_filters : int, default=32
        Channels next to the image in convolutional networks, doubled with each halving.
    latent_dim : int or "auto", default="auto"
        "auto" is 32 for convolutional networks, or the number of features, at most 64.
    prior : {"normal", "uniform"}, default="normal"
        Distribution of z: N(0, I), or uniform on (-1, 1) as in the paper.
    image_shape : tuple of int, default=None
        Shape (H, W) or (H, W, C) of images that X holds as flat rows.
    n_estimators : int or "auto", default="auto"
        Number of members, each with networks of its own, that share out the rows of
        each batch. The score is the mean of the scores of all members, each on the
        scale that it has for held-out normal rows. "auto" is 1.
    max_iter : int or "auto", default="auto"
        Number of updates of the GAN, whatever the number of rows. 0 leaves its networks
        as they are made, or as you pass them. "auto" is 100, or 600 for large images.
    batch_size : int or "auto", default="auto"
        Rows per mini-batch. "auto" is 64 for images and 128 for tables.
    learning_rate : float or "auto", default="auto"
        Learning rate of Adam for generator and discriminator. "auto" is 0.002, or 0.001
        for large images.
    encoder_learning_rate : float, default=0.001
        Learning rate of Adam for the encoder.
    encoder_max_iter : int or "auto", default="auto"
        Number of updates of the encoder, which follow those of the GAN. The state with
        the least error on held-out normal rows is kept. "auto" is 100, or 1,000 for
        large images.
    feature_weight : float, default=1.0
        The paper's kappa, in the encoder's loss and in the score "f_anogan".
    gradient_penalty : float or "auto", default="auto"
        Weight of the R1 penalty on the discriminator at real rows. It stabilises a
        training that diverges or collapses, and takes about a third more time. "auto"
        is 3, or 0 for large images.
    ema_decay : float or "auto", default="auto"
        Decay of the moving average of the generator, which scores use. 0 is for none.
        "auto" is 0.95, or 0.99 for large images.
    n_iter_no_change : int, default=None
        Number of updates of the encoder without a lower error on held-out normal rows,
        after which its training ends (None: never). The error is recorded twenty times.
    anomaly_score : str, default="whitened"
        Score of a row: "whitened", "f_anogan", "residual", "discrimination" or
        "latent"; see Notes.
    n_neighbors : int or "auto", default="auto"
        Number of nearest training rows whose mean distance makes half of the score. The
        nearest of them may be the closest normal row. The fitted model then holds up to
        10,000 training rows. "auto" is 1, or 0 for large images and for published
        scores. Take 20 for unlabelled rows with anomalies among them.
    shrinkage : float or "auto", default="auto"
        Share of the mean variance added to every direction before whitening. "auto" is
        0.1 for images, which have many similar features, and 0.001 for tables.
    contamination : "auto" or float, default="auto"
        With "auto", 5 % of new normal rows fall below the threshold, as measured on the
        held-out rows. With a float in (0, 0.5] this share of all normal rows in X does.
    support_fraction : float or "auto", default="auto"
        Share of the normal rows, in (0, 1], to learn from: those that lie closest
        together, so that anomalies among unlabelled rows are left out. "auto" is 1 with
        labels `y`. Without labels it is at most 0.75 and at most 1 - contamination if
        contamination is a float; otherwise only rows of tables that lie far from nearly
        all others are left out, if they are at most 7.5 % of the rows. The guide to
        unlabelled rows has figures.
    validation_fraction : float or "auto", default="auto"
        Share of the normal rows held out to select the state that is kept and to
        calibrate the threshold. "auto" is a tenth, or up to a quarter where a tenth is
        fewer than 60 rows, and at most 10,000 rows.
    random_state : int, RandomState instance or None, default=None
        With an int, the same data give the same scores, to the bit, on one machine.
    device : str or torch.device, default="auto"
        "auto" is the best available of cuda, mps and cpu.
    verbose : int, default=0
        A value above 0 shows a progress bar.
    scoring_dtype : {"auto", "float32", "float64"}, default="auto"
        "auto" is float64 for tables, and float32 for images and on mps.
    warm_start : bool, default=False
        Continue the training of the previous `fit`. There is no `partial_fit`.
    memory : str, path or object with the joblib.Memory interface, default=None
        Folder to cache trainings in, so that a search over parameters of scoring trains
        once per fold. Nothing is cached with ``random_state=None``. The folder is read
        with pickle, so use one that only you can write to.
    checkpoint : str or path, default=None
        File that the training is written to after each twentieth of it. A fit of the
        same rows and parameters of training resumes from it, and ends with the scores
        of an uninterrupted fit. The file of another training, such as that of the fit
        that a warm start continues, raises an error and is not changed. In an existing
        folder each training has a file of its own, as the fits of a search need.

    Attributes
    ----------
    model_ : skanogan.models.Ensemble
        Generator, discriminator, encoder, and the scores.
    offset_ : float
        ``decision_function = score_samples - offset_``.
    support_ : ndarray of bool of shape (n_samples,)
        The rows of X that were taken to be normal: those that were trained on, and
        those that the threshold of "auto" was calibrated on.
    history_ : list of dict
        Records as in `AnoGANDetector`, and the ``validation_error`` of the encoder.
    n_iter_ : int
        Number of updates done.
    n_features_in_ : int
        Number of features of a flat row.
    feature_names_in_ : ndarray of str
        Names of the columns, only if X had names that are all strings.
    image_shape_ : tuple of int or None
        Shape (H, W, C) of images.
    device_ : torch.device
        Device of the model.

    See Also
    --------
    sklearn.ensemble.IsolationForest : Fast, and hard to beat on small tables.
    sklearn.neighbors.LocalOutlierFactor : Density relative to the neighbours.

    Notes
    -----
    With ``R = mean |x - G(E(x))|^2``, ``F = mean |f(x) - f(G(E(x)))|^2`` and kappa =
    `feature_weight`, the encoder is trained to minimise R + kappa F ("izi_f" in [1]_),
    and the scores are

    - "whitened": squared Mahalanobis length of f(x) - f(G(E(x))), not in the paper;
    - "f_anogan": R + kappa F, the paper's A(x);
    - "residual", "discrimination": R or F alone;
    - "latent": ``mean |E(x) - E(G(E(x)))|^2``, the distance of latents that the paper's
      code also computes.

    `score_samples` is minus the score. Of the default score it is minus the logarithm,
    in standard deviations from the mean of held-out normal rows: about 0 for a normal
    row, the more negative the more anomalous. Members and nearest rows are averaged on
    this scale. The paper trains its GAN as WGAN-GP with residual networks. Here it is
    the GAN of `AnoGANDetector`. With the uniform prior a tanh bounds the latents of the
    encoder to (-1, 1), as in the paper's code.

    References
    ----------
    .. [1] T. Schlegl, P. Seeböck, S. M. Waldstein, G. Langs, U. Schmidt-Erfurth,
       "f-AnoGAN: Fast unsupervised anomaly detection with generative adversarial
       networks", Medical Image Analysis 54, 2019. :doi:`10.1016/j.media.2019.01.010`

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skanogan import FAnoGANDetector
    >>> digits = load_digits()
    >>> zeros, ones = (digits.images[digits.target == k] for k in (0, 1))
    >>> detector = FAnoGANDetector(max_iter=100, encoder_max_iter=50, random_state=0)
    >>> detector.fit(zeros[:100]).predict(ones[:5])
    array([-1, -1, -1, -1, -1])
    """

    _parameter_groups: ClassVar[dict[str, tuple[str, ...]]] = {
        "Networks": GAN_NETWORKS,
        "Training": (
            *(
                "n_estimators",
                "max_iter",
                "batch_size",
                "learning_rate",
                "encoder_learning_rate",
            ),
            *("encoder_max_iter", "feature_weight", "gradient_penalty"),
            *("ema_decay", "n_iter_no_change"),
        ),
        "Score": ("anomaly_score", "n_neighbors", "shrinkage"),
        "Threshold": THRESHOLD,
        "Running": RUNNING,
    }

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **GANDetector._parameter_constraints,
        "encoder_learning_rate": [Interval(Real, 0, None, closed="neither")],
        "encoder_max_iter": [
            StrOptions({"auto"}),
            Interval(Integral, 0, None, closed="left"),
        ],
        "feature_weight": [Interval(Real, 0, None, closed="left")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), None],
        "anomaly_score": [StrOptions(set(FANOGAN_SCORES))],
    }

    _auto: ClassVar[dict[str, tuple[Any, Any]]] = {
        **GANDetector._auto,
        "encoder_max_iter": (100, 1000),
    }

    def __init__(
        self,
        *,
        backbone: str = "auto",
        generator: nn.Module | None = None,
        discriminator: nn.Module | None = None,
        hidden_layer_sizes: tuple[int, ...] = (256, 256),
        n_filters: int = 32,
        latent_dim: int | str = "auto",
        prior: str = "normal",
        image_shape: tuple[int, ...] | None = None,
        n_estimators: int | str = "auto",
        max_iter: int | str = "auto",
        batch_size: int | str = "auto",
        learning_rate: float | str = "auto",
        encoder_learning_rate: float = 1e-3,
        encoder_max_iter: int | str = "auto",
        feature_weight: float = 1.0,
        gradient_penalty: float | str = "auto",
        ema_decay: float | str = "auto",
        n_iter_no_change: int | None = None,
        anomaly_score: str = "whitened",
        n_neighbors: int | str = "auto",
        shrinkage: float | str = "auto",
        contamination: float | str = "auto",
        support_fraction: float | str = "auto",
        validation_fraction: float | str = "auto",
        random_state: Any = None,
        device: str | torch.device = "auto",
        verbose: int = 0,
        scoring_dtype: str = "auto",
        warm_start: bool = False,
        memory: Any = None,
        checkpoint: "str | os.PathLike[str] | None" = None,
    ) -> None:
        self.backbone = backbone
        self.generator = generator
        self.discriminator = discriminator
        self.hidden_layer_sizes = hidden_layer_sizes
        self.n_filters = n_filters
        self.latent_dim = latent_dim
        self.prior = prior
        self.image_shape = image_shape
        self.n_estimators = n_estimators
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.encoder_learning_rate = encoder_learning_rate
        self.encoder_max_iter = encoder_max_iter
        self.feature_weight = feature_weight
        self.gradient_penalty = gradient_penalty
        self.ema_decay = ema_decay
        self.n_iter_no_change = n_iter_no_change
        self.anomaly_score = anomaly_score
        self.n_neighbors = n_neighbors
        self.shrinkage = shrinkage
        self.contamination = contamination
        self.support_fraction = support_fraction
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.scoring_dtype = scoring_dtype
        self.warm_start = warm_start
        self.memory = memory
        self.checkpoint = checkpoint

    def _make_model(
        self, scaling: Scaling, row_shape: tuple[int, ...], rng: torch.Generator | None
    ) -> FAnoGAN:
        parts = self._gan_parts(scaling, row_shape, rng)
        d, bounded = parts.latent_dim, self.prior == "uniform"
        if is_convolutional(self.backbone, row_shape):
            n = self.n_filters
            make = partial(convolutional_encoder, row_shape, d, n, "group", bounded)
        else:
            sizes = tuple(self.hidden_layer_sizes)
            make = partial(mlp_encoder, row_shape, d, sizes, "none", bounded)
        return FAnoGAN(
            parts,
            build(make, rng),
            EncoderTraining(
                int(self._resolved("max_iter")),
                self.encoder_learning_rate,
                self.feature_weight,
            ),
            self.anomaly_score,
            resolve_shrinkage(self.shrinkage, row_shape),
        )

    def _n_updates(self) -> int:
        return int(self._resolved("max_iter")) + int(self._resolved("encoder_max_iter"))

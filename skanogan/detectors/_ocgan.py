"""OCGANDetector: the parameters of OCGAN, and how they become a model."""

import math
import os
from collections.abc import Callable
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar

import torch

from skanogan._persistence.registry import register_detector
from skanogan._runtime.compatibility import Interval, StrOptions
from skanogan.detectors._base import BaseDetector
from skanogan.detectors._network_parameters import (
    NETWORK_CONSTRAINTS,
    RUNNING,
    THRESHOLD,
    check_hidden_layer_sizes,
    is_convolutional,
    resolve,
    resolve_shrinkage,
)
from skanogan.models import OCGAN, Game
from skanogan.models._ocgan import OCGAN_SCORES
from skanogan.nn import (
    AutoEncoder,
    Discriminator,
    Scaling,
    build,
    convolutional_decoder,
    convolutional_encoder,
    mlp_decoder,
    mlp_discriminator,
    mlp_encoder,
)
from skanogan.nn._autoencoder import NORMALIZATIONS, strided_discriminator

__all__ = ["OCGANDetector"]

LATENT_LAYERS = (128, 64, 32, 16)
"""Hidden layers of the latent discriminator, as in the paper."""

VISUAL_FILTERS = 12
"""Channels of the first convolution of the visual discriminator, as in the paper."""

CRITIC_SHARE = 4
"""The visual discriminator of the paper has 12 channels, its encoder 64. For tables the
hidden layers of the critics are a quarter of those of the encoder."""

THREE_HALVINGS = 16
"""Smallest side that leaves two pixels after the paper's three layers."""

NEEDS = {
    "visual": ("visual_discriminator", "visual_discriminator=True"),
    "latent": ("latent_discriminator", "latent_discriminator=True"),
    "classifier": ("n_mining_steps", "n_mining_steps of 1 or more"),
}
"""The parameter that a score depends on, and the value that it needs."""


@register_detector
class OCGANDetector(BaseDetector):
    """Anomaly detection with an auto-encoder that can reconstruct normal rows only.

    A denoising auto-encoder has codes in the box (-1, 1)^d. A latent discriminator
    spreads the codes of normal rows over the whole box. A visual discriminator makes
    every point of the box decode to something that looks normal. With `n_mining_steps`,
    a classifier finds the points where it does not yet, and the decoder learns from
    these [1]_. There is no
    code for an anomaly. The paper scores a row by how far it is from its
    reconstruction. The default score is how far the encoder's features of the row are
    from those of normal rows, which ranks better.

    Each part can be switched off. Training keeps the state with the least
    reconstruction error on held-out normal rows. The score of a row depends on that row
    alone. The parameters come in five groups: networks (from `backbone`), training
    (from `n_estimators`), score (from `anomaly_score`), threshold (from
    `contamination`) and running (from `random_state`). Large images, for which some
    defaults differ, have 256 pixels or more.

    Parameters
    ----------
    backbone : {"auto", "mlp", "convolutional"}, default="auto"
        "auto" is "convolutional" for images of 16 x 16 pixels or more, where the
        paper's three layers fit, or "mlp". "convolutional" takes 8 x 8 pixels or more.
    hidden_layer_sizes : tuple of int, default=(256, 256)
        Hidden layers of the MLP encoder, which the decoder mirrors. Those of the visual
        discriminator and the classifier have a quarter of each size. If a table has
        more columns than the sum of these sizes, the columns are features too.
    n_filters : int, default=16
        Channels of the first convolution of encoder and classifier (64 in the paper),
        doubled with each halving. The visual discriminator has 12, as in the paper.
    normalization : {"auto", "group", "batch", "none"}, default="auto"
        Normalisation after each layer of encoder and decoder: over groups of channels
        of each row alone, or over the batch as in the paper. "auto" is "group" for
        convolutional networks and "none" for an MLP.
    latent_dim : int or "auto", default="auto"
        "auto" is 16 for convolutional networks, or half the features, at most 64.
    image_shape : tuple of int, default=None
        Shape (H, W) or (H, W, C) of images that X holds as flat rows.
    n_estimators : int or "auto", default="auto"
        Number of members, each with networks of its own, that share out the rows of
        each batch. The score is the mean of the scores of all members, each on the
        scale that it has for held-out normal rows. "auto" is 1.
    max_iter : int or "auto", default="auto"
        Number of updates of each network, whatever the number of rows. 0 leaves the
        networks as they are made. "auto" is 100, or 1,000 for large images.
    batch_size : int or "auto", default="auto"
        Rows per mini-batch. "auto" is 64 for images and 128 for tables.
    learning_rate : float, default=0.001
        Learning rate of Adam for encoder and decoder.
    discriminator_learning_rate : float, default=0.0002
        Learning rate of Adam for the discriminators and the classifier.
    noise_variance : float or "auto", default="auto"
        Variance of the Gaussian noise on the encoder's inputs, for standardised columns
        or pixels in [-1, 1]. "auto" is 0.2 for images, as in the paper's text, and 1
        for tables, as in its Algorithm 1.
    latent_discriminator : bool, default=True
        Whether a discriminator makes the codes fill the box.
    visual_discriminator : bool, default=True
        Whether a discriminator makes decoded random points look real.
    n_mining_steps : int, default=0
        Number of gradient steps that move each random point to where a classifier takes
        its decoding for an anomaly, so that the decoder learns from such points. The
        paper's code takes 5, which takes twice the time and ranks no better. Mining
        begins once reconstructions leave less than half of the variance and the visual
        discriminator gives decoded points a probability of a quarter or more of being
        real. It needs a visual discriminator.
    reconstruction_weight : float, default=100.0
        Weight of the mean squared error against the two adversarial losses.
    ema_decay : float, default=0.99
        Decay of the moving average of the networks that scores use. 0 is for none.
    n_iter_no_change : int, default=None
        Number of updates without a lower error on held-out normal rows, after which the
        training ends (None: never). The error is measured at twenty records of a fit.
    anomaly_score : str, default="features"
        Score of a row: "features", "whitened", "reconstruction", "visual", "latent" or
        "classifier"; see Notes. The last three may rank anomalies as more normal than
        normal rows. On rows five deviations away the AUROC of "visual" is .00, that of
        "latent" .36 and .37, that of "classifier" .65 and .82. On eight tables they
        have .64, .17 and .79, and the default .94 (docs/methods.md).
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
        Continue the training of the previous `fit` from the state that it kept. The
        state kept in the end is one of the new `fit`. There is no `partial_fit`.
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
        Encoder, decoder, discriminators and classifier.
    offset_ : float
        ``decision_function = score_samples - offset_``.
    support_ : ndarray of bool of shape (n_samples,)
        The rows of X that were taken to be normal: those that were trained on, and
        those that the threshold of "auto" was calibrated on.
    history_ : list of dict
        Regular records of the training: ``n_iter``; the means since the last record of
        the losses, of ``reconstruction_error`` and of ``mining`` (1 if points were
        mined); ``validation_error``, whose least value in the last `fit` marks the
        state that is kept; ``seconds``; and ``fit`` (1, and one more for a warm start).
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
    AnoGANDetector : Searches the latent space for each row instead of encoding it.
    sklearn.decomposition.PCA : The linear auto-encoder, hard to beat where it fits.

    Notes
    -----
    With the reconstruction x' = De(En(x)) and the encoder's hidden layers h (the last
    one for images, all of them for tables, and the columns of wide tables), the scores
    are

    - "features": squared Mahalanobis length of h(x) minus its mean over the training
      rows, without a reconstruction, not in the paper;
    - "whitened": squared Mahalanobis length of h(x) - h(x'), not in the paper either;
    - "reconstruction": the mean of (x - x')^2, the paper's;
    - "visual": minus the visual discriminator's logit for x;
    - "latent": minus the latent discriminator's logit for En(x);
    - "classifier": minus the classifier's logit for x'.

    `score_samples` is minus the score. Of "features" and "whitened" it is minus the
    logarithm, in standard deviations from the mean of held-out normal rows: about 0 for
    a normal row, the more negative the more anomalous. Members and nearest rows are
    averaged on this scale. The paper's ablation begins with
    ``latent_discriminator=False, visual_discriminator=False`` and
    ``anomaly_score="reconstruction"``, and then switches one part on after the other.
    docs/papers.md lists the settings in which the paper and its code differ from each
    other and from the defaults.

    References
    ----------
    .. [1] P. Perera, R. Nallapati, B. Xiang, "OCGAN: One-class Novelty Detection Using
       GANs with Constrained Latent Representations", CVPR 2019. :arxiv:`1903.08550`

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skanogan import OCGANDetector
    >>> digits = load_digits()
    >>> zeros, ones = (digits.images[digits.target == k] for k in (0, 1))
    >>> detector = OCGANDetector(max_iter=100, random_state=0).fit(zeros[:100])
    >>> detector.predict(ones[:5])
    array([-1, -1, -1, -1, -1])
    """

    _parameter_groups: ClassVar[dict[str, tuple[str, ...]]] = {
        "Networks": (
            *("backbone", "hidden_layer_sizes", "n_filters"),
            *("normalization", "latent_dim", "image_shape"),
        ),
        "Training": (
            *(
                "n_estimators",
                "max_iter",
                "batch_size",
                "learning_rate",
                "discriminator_learning_rate",
            ),
            *("noise_variance", "latent_discriminator", "visual_discriminator"),
            *("n_mining_steps", "reconstruction_weight"),
            *("ema_decay", "n_iter_no_change"),
        ),
        "Score": ("anomaly_score", "n_neighbors", "shrinkage"),
        "Threshold": THRESHOLD,
        "Running": RUNNING,
    }

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseDetector._parameter_constraints,
        **NETWORK_CONSTRAINTS,
        "normalization": [StrOptions({"auto", *NORMALIZATIONS})],
        "discriminator_learning_rate": [Interval(Real, 0, None, closed="neither")],
        "noise_variance": [
            StrOptions({"auto"}),
            Interval(Real, 0, None, closed="left"),
        ],
        "latent_discriminator": ["boolean"],
        "visual_discriminator": ["boolean"],
        "n_mining_steps": [Interval(Integral, 0, None, closed="left")],
        "reconstruction_weight": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), None],
        "anomaly_score": [StrOptions(set(OCGAN_SCORES))],
    }

    _scoring_parameters = BaseDetector._scoring_parameters | {
        "anomaly_score",
        "shrinkage",
    }

    _training_advice = (
        "Lower learning_rate and discriminator_learning_rate, or raise "
        "reconstruction_weight."
    )

    _auto: ClassVar[dict[str, tuple[Any, Any]]] = {
        "n_estimators": (1, 1),
        "max_iter": (100, 1000),
    }

    def __init__(
        self,
        *,
        backbone: str = "auto",
        hidden_layer_sizes: tuple[int, ...] = (256, 256),
        n_filters: int = 16,
        normalization: str = "auto",
        latent_dim: int | str = "auto",
        image_shape: tuple[int, ...] | None = None,
        n_estimators: int | str = "auto",
        max_iter: int | str = "auto",
        batch_size: int | str = "auto",
        learning_rate: float = 1e-3,
        discriminator_learning_rate: float = 2e-4,
        noise_variance: float | str = "auto",
        latent_discriminator: bool = True,
        visual_discriminator: bool = True,
        n_mining_steps: int = 0,
        reconstruction_weight: float = 100.0,
        ema_decay: float = 0.99,
        n_iter_no_change: int | None = None,
        anomaly_score: str = "features",
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
        self.hidden_layer_sizes = hidden_layer_sizes
        self.n_filters = n_filters
        self.normalization = normalization
        self.latent_dim = latent_dim
        self.image_shape = image_shape
        self.n_estimators = n_estimators
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.discriminator_learning_rate = discriminator_learning_rate
        self.noise_variance = noise_variance
        self.latent_discriminator = latent_discriminator
        self.visual_discriminator = visual_discriminator
        self.n_mining_steps = n_mining_steps
        self.reconstruction_weight = reconstruction_weight
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
    ) -> OCGAN:
        name, needed = NEEDS.get(self.anomaly_score, (None, None))
        if name is not None and not getattr(self, name):
            raise ValueError(
                f"anomaly_score={self.anomaly_score!r} was given with "
                f"{name}={getattr(self, name)}, but needs {needed}. Change one of them."
            )
        sizes = check_hidden_layer_sizes(self.hidden_layer_sizes)
        convolutional = is_convolutional(self.backbone, row_shape, THREE_HALVINGS)
        half = min(max(math.prod(row_shape) // 2, 1), 64)
        d = resolve(self.latent_dim, 16 if convolutional else half)
        norm = resolve(self.normalization, "group" if convolutional else "none")
        noise = 0.2 if len(row_shape) == 3 else 1.0
        visual: Callable[[], Discriminator]
        classifier: Callable[[], Discriminator]
        if convolutional:
            n = self.n_filters
            encoder = partial(convolutional_encoder, row_shape, d, n, norm)
            decoder = partial(convolutional_decoder, d, row_shape, n, norm)
            visual = partial(strided_discriminator, row_shape, VISUAL_FILTERS)
            classifier = partial(strided_discriminator, row_shape, n)
        else:
            critic_sizes = tuple(max(size // CRITIC_SHARE, 1) for size in sizes)
            encoder = partial(mlp_encoder, row_shape, d, sizes, norm)
            decoder = partial(mlp_decoder, d, row_shape, sizes, norm)
            visual = classifier = partial(mlp_discriminator, row_shape, critic_sizes)
        latent = partial(mlp_discriminator, (d,), LATENT_LAYERS)
        # The order decides which random numbers each network gets.
        return OCGAN(
            AutoEncoder(build(encoder, rng), build(decoder, rng)),
            build(latent, rng) if self.latent_discriminator else None,
            build(visual, rng) if self.visual_discriminator else None,
            build(classifier, rng) if self.n_mining_steps else None,
            scaling=scaling,
            latent_dim=d,
            game=Game(
                noise_variance=resolve(self.noise_variance, noise),
                reconstruction_weight=self.reconstruction_weight,
                n_mining_steps=self.n_mining_steps,
                learning_rate=self.learning_rate,
                discriminator_learning_rate=self.discriminator_learning_rate,
                ema_decay=self.ema_decay,
            ),
            score=self.anomaly_score,
            shrinkage=resolve_shrinkage(self.shrinkage, row_shape),
        )

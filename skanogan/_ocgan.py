"""OCGANDetector: the parameters of OCGAN and how they become a model."""

import math
import os
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar

import torch
from torch import nn

from skanogan._backbone import (
    NETWORK_CONSTRAINTS,
    check_hidden_layer_sizes,
    is_convolutional,
    whitening_floor,
)
from skanogan._base import BaseDetector
from skanogan._compat import Interval, StrOptions
from skanogan._inputs import Rows
from skanogan.models import _autoencoder as autoencoder
from skanogan.models import _networks as networks
from skanogan.models._autoencoder import NORMALIZATIONS
from skanogan.models._networks import Discriminator
from skanogan.models._ocgan import OCGAN, OCGAN_SCORES, VISUAL_FAKES, Game

__all__ = ["OCGANDetector"]

LATENT_LAYERS = (128, 64, 32, 16)
"""Of the latent discriminator, as in the paper."""

CRITIC_SHARE = 4
"""The paper's D_v has 12 channels where its encoder has 64; the MLPs keep a quarter."""

THREE_HALVINGS = 16
"""The least side that leaves two pixels after the paper's three layers."""

NEEDS = {
    "visual": "visual_discriminator",
    "latent": "latent_discriminator",
    "classifier": "mining",
}
"""Which part of the game a score needs."""


Factories = tuple[
    Callable[[], autoencoder.Encoder],
    Callable[[], nn.Module],
    Callable[[], Discriminator],
    Callable[[], Discriminator],
]
"""Of the encoder, the decoder, the visual discriminator and the classifier."""


class OCGANDetector(BaseDetector):
    """Anomaly detection with an auto-encoder that can rebuild normal rows only.

    A denoising auto-encoder with codes in (-1, 1)^d. A latent discriminator spreads the
    codes of normal rows over the whole box, a visual discriminator makes every point of
    the box decode to something that looks normal, and a classifier finds the points
    where it does not yet, for the decoder to learn from [1]_. An anomaly has no code to
    be rebuilt from; the score is how far a row is from its reconstruction, by default
    in the encoder's features, whitened by what that difference is for normal rows.

    Each part can be switched off. Of the states passed through in training, the one
    with the least reconstruction error on held-out normal rows is kept.

    Parameters
    ----------
    backbone : {"auto", "mlp", "convolutional"}, default="auto"
        Networks to build. "auto" is convolutional for images with sides of 16 pixels or
        more, where the paper's three layers of 5 x 5 and stride 2 fit, and MLP
        otherwise; "convolutional" is possible from 8 pixels on.
    hidden_layer_sizes : tuple of int, default=(256, 256)
        Of the MLP encoder; the decoder mirrors it, the visual discriminator and the
        classifier have a quarter of each size.
    n_filters : int, default=16
        Channels of the encoder's first convolution; they double with each halving of
        the size. The paper has 64.
    discriminator_filters : int, default=12
        The same for the visual discriminator.
    classifier_filters : int, default=16
        The same for the classifier. The paper has 64.
    normalization : {"auto", "group", "batch", "none"}, default="auto"
        After each layer of encoder and decoder: over groups of channels of each row
        alone, or over the batch as in the paper. "auto" is "group" for convolutional
        networks and "none" for an MLP.
    latent_dim : int or "auto", default="auto"
        Dimension of the code. "auto" is 16 for convolutional networks, and half the
        number of features, at most 64, for an MLP.
    image_shape : tuple of int, default=None
        (H, W) or (H, W, C) if X holds flattened images. Arrays of images need no
        `image_shape`.
    noise_variance : float or "auto", default="auto"
        Of the Gaussian noise on what the encoder sees in training, drawn afresh at each
        update; on the scale of standardised columns or of pixels in [-1, 1]. "auto" is
        0.2 for images, as in the paper's text, and 1 for tables, as in its Algorithm 1.
    latent_discriminator : bool, default=True
        Whether codes are made to fill the box.
    visual_discriminator : bool, default=True
        Whether drawn rows are made to look real.
    mining : bool, default=True
        Whether a classifier finds the points of the box that the decoder learns from.
        Without a visual discriminator there is nobody to learn them for, and mining has
        no effect.
    visual_fakes : {"samples", "reconstructions"}, default="samples"
        What the visual discriminator compares with real rows: decoded random points, or
        reconstructions. The latter, with neither latent discriminator nor mining, is
        the adversarial convolutional auto-encoder (aCAE) that the AnoGAN paper compares
        with.
    adversarial_loss : str, default="cross_entropy"
        The two games with the discriminators: "cross_entropy", "hinge" or
        "least_squares".
    reconstruction_weight : float, default=100.0
        Weight of the mean squared error against the two adversarial losses.
    latent_weight : float, default=1.0
        Weight of the game with the latent discriminator.
    visual_weight : float, default=1.0
        Weight of the game with the visual discriminator.
    mining_start : int or "auto", default="auto"
        The update of a fit from which on points are mined. "auto" waits until running
        means say that reconstructions leave less than half of the variance of the rows,
        and that the visual discriminator takes drawn rows for real with a probability
        of a quarter or more.
    n_mining_steps : int, default=5
        Steps on each random point.
    mining_step_size : float, default=0.1
        Length of each step, in a box of side 2.
    learning_rate : float, default=0.001
        Adam's, for encoder and decoder.
    discriminator_learning_rate : float, default=0.0002
        Adam's, for the discriminators and the classifier.
    beta_1 : float, default=0.5
        Adam's first decay rate.
    averaging : float, default=0.99
        Encoder and decoder that score are an exponential average, with this decay, of
        those that train; 0 for none.
    max_iter : int, default=1000
        Updates of each network. A budget of updates, not of epochs: time and quality
        hardly depend on the number of rows.
    n_iter_no_change : int, default=None
        Training ends once the error on held-out normal rows has not fallen for so many
        updates, as seen at twenty records of a fit. None trains to the end. The state
        of least error is the one kept in either case.
    batch_size : int or "auto", default="auto"
        Rows in a mini-batch; "auto" is 64 for images and 128 for tables.
    anomaly_score : str, default="whitened"
        "whitened", "reconstruction", "features", "visual", "latent" or "classifier";
        see Notes.
    whitening_floor : float or "auto", default="auto"
        Share of the mean variance added to every direction before whitening. "auto" is
        0.1 for images, where the features are many and alike, and 0.001 for tables.
    validation_fraction : float or "auto", default="auto"
        Share of the normal rows held out of training, to select the state that is kept
        and to calibrate the threshold. "auto" is a tenth, or up to a fifth where a
        tenth is fewer than 20 rows, and at most 10,000 rows.
    contamination : "auto" or float, default="auto"
        "auto" puts the threshold where 5 % of new normal rows fall below, as measured
        on the held-out rows. A float in (0, 0.5] puts it where that share of the
        normal rows does, held out or not.
    scoring_dtype : {"auto", "float32", "float64", "bfloat16"}, default="auto"
        Precision of scores. "auto" is float64 for tables and float32 for images and
        on mps. "bfloat16" is float32 with products in bfloat16, where the hardware is
        faster at them: scores move by percents, their order hardly.
    warm_start : bool, default=False
        Continue the training of the previous `fit`, from the state that it kept; the
        state kept in the end is one of the new `fit`.
    memory : str, path or object with the joblib.Memory interface, default=None
        A folder to keep trainings in. A fit of the same rows with the same parameters
        of training takes its weights from there, so that a search over parameters of
        scoring trains once a fold. Nothing is kept with ``random_state=None``. The
        folder is read with pickle: take one that only you can write to.
    checkpoint : str or path, default=None
        A file that the training is written to after each twentieth of it, in one step.
        A fit of the same rows with the same parameters of training goes on from there
        and ends with the scores of one that was not interrupted. A file of another
        training, such as that of the fit that a warm start goes on from, is an error,
        and is left as it is.
    verbose : int, default=0
        Above 0, a progress bar.
    device : str or torch.device, default="auto"
        "auto" is the best available of cuda, mps and cpu. A device that is named must
        be there.
    random_state : int, RandomState instance or None, default=None
        Given an int, the same data give the same scores, to the bit, on one machine.

    Attributes
    ----------
    model_ : skanogan.models.OCGAN
        Encoder, decoder, discriminators and classifier.
    offset_ : float
        ``decision_function = score_samples - offset_``.
    history_ : list of dict
        Of training, at regular intervals: ``n_iter``; means since the last record of
        the losses, of ``reconstruction_error`` and of ``mining`` (1 where points were
        mined); ``validation_error``, whose least value in the last `fit` marks the
        state that is kept; ``seconds``; ``fit`` (1; one more with each warm start).
    n_iter_ : int
        Updates done.
    n_features_in_ : int
        Features of a flat row.
    feature_names_in_ : ndarray of str
        Only if X had names, all strings.
    image_shape_ : tuple of int or None
        (H, W, C) of images.
    device_ : torch.device
        Where the model lives.

    See Also
    --------
    AnoGANDetector : Searches the latent space for each row instead of encoding it.
    sklearn.decomposition.PCA : The linear auto-encoder, hard to beat where it fits.

    Notes
    -----
    With the reconstruction x' = De(En(x)) and the encoder's hidden layers h (the last
    one for images, all of them for tables), the scores are

    - "whitened": squared Mahalanobis length of h(x) - h(x'), not in the paper;
    - "reconstruction": the mean of (x - x')^2, the paper's;
    - "features": squared Mahalanobis length of h(x) less its mean over the training
      rows, without a reconstruction, not in the paper either;
    - "visual": minus the visual discriminator's logit for x;
    - "latent": minus the latent discriminator's logit for En(x);
    - "classifier": minus the classifier's logit for x'.

    `score_samples` is minus the score. The paper's ablation is
    ``latent_discriminator=False, visual_discriminator=False, mining=False``, then one
    after the other set to True, all with ``anomaly_score="reconstruction"``. The
    settings in which the paper and its code differ from each other and from the
    defaults are listed in docs/ocgan.md.

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

    model_: OCGAN

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseDetector._parameter_constraints,
        **NETWORK_CONSTRAINTS,
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), None],
        "discriminator_filters": [Interval(Integral, 1, None, closed="left")],
        "classifier_filters": [Interval(Integral, 1, None, closed="left")],
        "normalization": [StrOptions({"auto", *NORMALIZATIONS})],
        "noise_variance": [
            StrOptions({"auto"}),
            Interval(Real, 0, None, closed="left"),
        ],
        "latent_discriminator": ["boolean"],
        "visual_discriminator": ["boolean"],
        "mining": ["boolean"],
        "visual_fakes": [StrOptions(set(VISUAL_FAKES))],
        "reconstruction_weight": [Interval(Real, 0, None, closed="neither")],
        "latent_weight": [Interval(Real, 0, None, closed="left")],
        "visual_weight": [Interval(Real, 0, None, closed="left")],
        "mining_start": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "n_mining_steps": [Interval(Integral, 1, None, closed="left")],
        "mining_step_size": [Interval(Real, 0, None, closed="neither")],
        "discriminator_learning_rate": [Interval(Real, 0, None, closed="neither")],
        "anomaly_score": [StrOptions(set(OCGAN_SCORES))],
    }

    _not_of_training = BaseDetector._not_of_training | {
        "anomaly_score",
        "whitening_floor",
    }

    _advice_on_training = (
        "Lower learning_rate and discriminator_learning_rate, or raise "
        "reconstruction_weight."
    )

    def __init__(
        self,
        *,
        backbone: str = "auto",
        hidden_layer_sizes: tuple[int, ...] = (256, 256),
        n_filters: int = 16,
        discriminator_filters: int = 12,
        classifier_filters: int = 16,
        normalization: str = "auto",
        latent_dim: int | str = "auto",
        image_shape: tuple[int, ...] | None = None,
        noise_variance: float | str = "auto",
        latent_discriminator: bool = True,
        visual_discriminator: bool = True,
        mining: bool = True,
        visual_fakes: str = "samples",
        adversarial_loss: str = "cross_entropy",
        reconstruction_weight: float = 100.0,
        latent_weight: float = 1.0,
        visual_weight: float = 1.0,
        mining_start: int | str = "auto",
        n_mining_steps: int = 5,
        mining_step_size: float = 0.1,
        learning_rate: float = 1e-3,
        discriminator_learning_rate: float = 2e-4,
        beta_1: float = 0.5,
        averaging: float = 0.99,
        max_iter: int = 1000,
        n_iter_no_change: int | None = None,
        batch_size: int | str = "auto",
        anomaly_score: str = "whitened",
        whitening_floor: float | str = "auto",
        validation_fraction: float | str = "auto",
        contamination: float | str = "auto",
        scoring_dtype: str = "auto",
        warm_start: bool = False,
        memory: Any = None,
        checkpoint: "str | os.PathLike[str] | None" = None,
        verbose: int = 0,
        device: str | torch.device = "auto",
        random_state: Any = None,
    ) -> None:
        self.backbone = backbone
        self.hidden_layer_sizes = hidden_layer_sizes
        self.n_filters = n_filters
        self.discriminator_filters = discriminator_filters
        self.classifier_filters = classifier_filters
        self.normalization = normalization
        self.latent_dim = latent_dim
        self.image_shape = image_shape
        self.noise_variance = noise_variance
        self.latent_discriminator = latent_discriminator
        self.visual_discriminator = visual_discriminator
        self.mining = mining
        self.visual_fakes = visual_fakes
        self.adversarial_loss = adversarial_loss
        self.reconstruction_weight = reconstruction_weight
        self.latent_weight = latent_weight
        self.visual_weight = visual_weight
        self.mining_start = mining_start
        self.n_mining_steps = n_mining_steps
        self.mining_step_size = mining_step_size
        self.learning_rate = learning_rate
        self.discriminator_learning_rate = discriminator_learning_rate
        self.beta_1 = beta_1
        self.averaging = averaging
        self.max_iter = max_iter
        self.n_iter_no_change = n_iter_no_change
        self.batch_size = batch_size
        self.anomaly_score = anomaly_score
        self.whitening_floor = whitening_floor
        self.validation_fraction = validation_fraction
        self.contamination = contamination
        self.scoring_dtype = scoring_dtype
        self.warm_start = warm_start
        self.memory = memory
        self.checkpoint = checkpoint
        self.verbose = verbose
        self.device = device
        self.random_state = random_state

    def _make_model(
        self, rows: Rows, row_shape: tuple[int, ...], rng: torch.Generator | None
    ) -> OCGAN:
        needed = NEEDS.get(self.anomaly_score)
        if needed is not None and not getattr(self, needed):
            raise ValueError(
                f"anomaly_score={self.anomaly_score!r} needs {needed}=True: got False."
            )
        check_hidden_layer_sizes(self.hidden_layer_sizes)
        convolutional = is_convolutional(self.backbone, row_shape, THREE_HALVINGS)
        latent_dim = self._resolve_latent_dim(row_shape, convolutional)
        make = self._convolutional if convolutional else self._mlp
        encoder, decoder, visual, classifier = make(row_shape, latent_dim)

        def latent() -> Discriminator:
            return networks.mlp_discriminator((latent_dim,), LATENT_LAYERS)

        def critic(
            wanted: bool, factory: Callable[[], Discriminator]
        ) -> Discriminator | None:
            return networks.build(factory, rng) if wanted else None

        return OCGAN(
            autoencoder.AutoEncoder(
                networks.build(encoder, rng), networks.build(decoder, rng)
            ),
            critic(self.latent_discriminator, latent),
            critic(self.visual_discriminator, visual),
            critic(self.mining, classifier),
            scaling=rows.scaling(),
            latent_dim=latent_dim,
            game=Game(
                noise_variance=self._resolve_noise_variance(row_shape),
                visual_fakes=self.visual_fakes,
                adversarial_loss=self.adversarial_loss,
                reconstruction_weight=self.reconstruction_weight,
                latent_weight=self.latent_weight,
                visual_weight=self.visual_weight,
                mining_start=self.mining_start,
                n_mining_steps=self.n_mining_steps,
                mining_step_size=self.mining_step_size,
                learning_rate=self.learning_rate,
                discriminator_learning_rate=self.discriminator_learning_rate,
                beta_1=self.beta_1,
                averaging=self.averaging,
            ),
            score=self.anomaly_score,
            whitening_floor=whitening_floor(self.whitening_floor, row_shape),
        )

    def _convolutional(self, row_shape: tuple[int, ...], latent_dim: int) -> Factories:
        norm = "group" if self.normalization == "auto" else self.normalization
        return (
            lambda: autoencoder.convolutional_encoder(
                row_shape, latent_dim, self.n_filters, norm
            ),
            lambda: autoencoder.convolutional_decoder(
                latent_dim, row_shape, self.n_filters, norm
            ),
            lambda: autoencoder.strided_discriminator(
                row_shape, self.discriminator_filters
            ),
            lambda: autoencoder.strided_discriminator(
                row_shape, self.classifier_filters
            ),
        )

    def _mlp(self, row_shape: tuple[int, ...], latent_dim: int) -> Factories:
        sizes = check_hidden_layer_sizes(self.hidden_layer_sizes)
        critic_sizes = tuple(max(size // CRITIC_SHARE, 1) for size in sizes)
        norm = "none" if self.normalization == "auto" else self.normalization
        return (
            lambda: autoencoder.mlp_encoder(row_shape, latent_dim, sizes, norm),
            lambda: autoencoder.mlp_decoder(latent_dim, row_shape, sizes, norm),
            lambda: networks.mlp_discriminator(row_shape, critic_sizes),
            lambda: networks.mlp_discriminator(row_shape, critic_sizes),
        )

    def _resolve_noise_variance(self, row_shape: tuple[int, ...]) -> float:
        if self.noise_variance == "auto":
            return 0.2 if len(row_shape) == 3 else 1.0
        return float(self.noise_variance)

    def _resolve_latent_dim(
        self, row_shape: tuple[int, ...], convolutional: bool
    ) -> int:
        if self.latent_dim != "auto":
            return int(self.latent_dim)
        return 16 if convolutional else min(max(math.prod(row_shape) // 2, 1), 64)

    def _patience(self) -> int | None:
        return self.n_iter_no_change

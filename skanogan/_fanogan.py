"""FAnoGANDetector: the parameters of f-AnoGAN and how they become a model."""

import os
from numbers import Integral, Real
from typing import Any, ClassVar

import torch
from torch import nn

from skanogan._backbone import whitening_floor
from skanogan._compat import Interval, StrOptions
from skanogan._gan import GANDetector
from skanogan._inputs import Rows
from skanogan.models._fanogan import FANOGAN_SCORES, FAnoGAN
from skanogan.models._gan import EncoderTraining

__all__ = ["FAnoGANDetector"]


class FAnoGANDetector(GANDetector):
    """Anomaly detection with a GAN and an encoder that inverts it.

    A generator G learns to draw normal rows, then an encoder E to name the latent that
    draws a given row. The score is how far a row x is from G(E(x)): AnoGAN's question,
    answered in one pass instead of a search [1]_. By default the distance is measured
    in the hidden activations f of the discriminator, whitened by what
    f(x) - f(G(E(x))) is for normal rows.

    A score is a function of the row alone: not of the other rows, their order, or the
    process.

    Parameters
    ----------
    backbone : {"auto", "mlp", "convolutional"}, default="auto"
        Networks to build. "auto" is convolutional (DCGAN) for images with sides of 8
        pixels or more, and MLP otherwise.
    generator : torch.nn.Module, default=None
        A network of your own, from (n, latent_dim) to (n, n_features) or
        (n, C, H, W), on the scale of standardised columns or of pixels in [-1, 1]. It
        is copied; all its weights are trained, from what they are. Set `latent_dim` as
        well.
    discriminator : torch.nn.Module, default=None
        A network of your own to one logit a row, with a method ``features(x)``, or a
        ``torch.nn.Sequential`` whose last module makes the logit. Also copied.
    hidden_layer_sizes : tuple of int, default=(256, 256)
        Of the MLP generator; the discriminator has the same.
    n_filters : int, default=32
        Channels next to the image in the convolutional networks; they double with
        each halving of the size.
    latent_dim : int or "auto", default="auto"
        Dimension of z. "auto" is 32 for convolutional networks, and the number of
        features, at most 64, for an MLP.
    prior : {"normal", "uniform"}, default="normal"
        Distribution of z: N(0, I), or uniform on (-1, 1) as in the paper.
    image_shape : tuple of int, default=None
        (H, W) or (H, W, C) if X holds flattened images. Arrays of images need no
        `image_shape`.
    adversarial_loss : str, default="cross_entropy"
        The game between G and D: "cross_entropy", the non-saturating GAN, "hinge" or
        "least_squares".
    gradient_penalty : float, default=0.0
        Weight of the R1 penalty on D at real rows. Steadies training where it diverges
        or collapses, for about a third more time.
    learning_rate : float, default=0.0002
        Adam's, for both networks.
    beta_1 : float, default=0.5
        Adam's first decay rate.
    averaging : float, default=0.999
        The generator that scores is an exponential average, with this decay, of the
        one that trains; 0 for none.
    max_iter : int, default=2000
        Updates of the GAN. A budget of updates, not of epochs: time and quality
        do not depend on the number of rows.
    encoder_max_iter : int, default=2000
        Updates of the encoder that follow. The state of least error on held-out
        normal rows is kept.
    n_iter_no_change : int, default=None
        The encoder's training ends once its error on held-out normal rows has not
        fallen for so many updates, as seen at twenty records of a fit. None trains to
        the end. The state of least error is the one kept in either case.
    batch_size : int or "auto", default="auto"
        Rows in a mini-batch; "auto" is 64 for images and 128 for tables.
    encoder_learning_rate : float, default=0.001
        Adam's, for the encoder.
    encoder_activation : {"auto", "identity", "tanh"}, default="auto"
        Of the encoder's outputs. "auto" is tanh for the uniform prior, which lies in
        (-1, 1), and the identity for the normal one. The paper's code has tanh.
    anomaly_score : str, default="whitened"
        "whitened", "f_anogan", "residual", "discrimination" or "latent"; see Notes.
    feature_weight : float, default=1.0
        The paper's kappa, in the encoder's loss and in the score "f_anogan".
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
        Continue the training of the previous `fit`.
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
    model_ : skanogan.models.FAnoGAN
        Generator, discriminator, encoder, and the scores.
    offset_ : float
        ``decision_function = score_samples - offset_``.
    history_ : list of dict
        Of training, at regular intervals: ``n_iter``, the mean losses and logits since
        the last record, ``seconds``, ``fit`` (1; one more with each warm start).
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
      code computes as well.

    `score_samples` is minus the score. The paper trains its GAN as WGAN-GP with
    residual networks; here it is the GAN of `AnoGANDetector`.

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

    model_: FAnoGAN

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **GANDetector._parameter_constraints,
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), None],
        "encoder_learning_rate": [Interval(Real, 0, None, closed="neither")],
        "encoder_activation": [StrOptions({"auto", "identity", "tanh"})],
        "anomaly_score": [StrOptions(set(FANOGAN_SCORES))],
        "feature_weight": [Interval(Real, 0, None, closed="left")],
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
        adversarial_loss: str = "cross_entropy",
        gradient_penalty: float = 0.0,
        learning_rate: float = 2e-4,
        beta_1: float = 0.5,
        averaging: float = 0.999,
        max_iter: int = 2000,
        encoder_max_iter: int = 2000,
        n_iter_no_change: int | None = None,
        batch_size: int | str = "auto",
        encoder_learning_rate: float = 1e-3,
        encoder_activation: str = "auto",
        anomaly_score: str = "whitened",
        feature_weight: float = 1.0,
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
        self.generator = generator
        self.discriminator = discriminator
        self.hidden_layer_sizes = hidden_layer_sizes
        self.n_filters = n_filters
        self.latent_dim = latent_dim
        self.prior = prior
        self.image_shape = image_shape
        self.adversarial_loss = adversarial_loss
        self.gradient_penalty = gradient_penalty
        self.learning_rate = learning_rate
        self.beta_1 = beta_1
        self.averaging = averaging
        self.max_iter = max_iter
        self.encoder_max_iter = encoder_max_iter
        self.n_iter_no_change = n_iter_no_change
        self.batch_size = batch_size
        self.encoder_learning_rate = encoder_learning_rate
        self.encoder_activation = encoder_activation
        self.anomaly_score = anomaly_score
        self.feature_weight = feature_weight
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
    ) -> FAnoGAN:
        encoder_training = EncoderTraining(
            after=self.max_iter,
            learning_rate=self.encoder_learning_rate,
            feature_weight=self.feature_weight,
        )
        bounded = {"auto": None, "identity": False, "tanh": True}
        parts = self._gan_parts(
            rows, row_shape, rng, encoder_training, bounded[self.encoder_activation]
        )
        floor = whitening_floor(self.whitening_floor, row_shape)
        return FAnoGAN(parts, self.anomaly_score, floor)

    def _n_updates(self) -> int:
        return self.max_iter + self.encoder_max_iter

    def _patience(self) -> int | None:
        return self.n_iter_no_change

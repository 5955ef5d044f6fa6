"""AnoGANDetector: the parameters of AnoGAN and how they become a model."""

import os
from numbers import Integral, Real
from typing import Any, ClassVar

import torch
from torch import nn

from skanogan._backbone import whitening_floor
from skanogan._compat import Interval, StrOptions
from skanogan._gan import GANDetector
from skanogan._inputs import Rows
from skanogan.models._anogan import SCORES, STARTS, AnoGAN, Search
from skanogan.models._gan import EncoderTraining

__all__ = ["AnoGANDetector"]


class AnoGANDetector(GANDetector):
    """Anomaly detection with a GAN and a search of its latent space.

    A generator G learns to draw normal rows, a discriminator D to tell drawn rows from
    real ones. For a row x the search finds the latent z whose drawing G(z) is closest;
    the score is how close that is [1]_. By default closeness is measured in D's
    features f, whitened by what f(x) - f(G(z)) is for normal rows, and the search takes
    the best of `n_candidates` latents fixed at fit. The procedure as published, and its
    variants, are a matter of parameters (see Notes).

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
        Updates of each network. A budget of updates, not of epochs: time and quality
        do not depend on the number of rows.
    encoder_max_iter : int, default=2000
        Updates of the encoder that follow, if there is one (``start="encoder"``).
    batch_size : int or "auto", default="auto"
        Rows in a mini-batch; "auto" is 64 for images and 128 for tables.
    anomaly_score : str, default="whitened"
        What is searched for and scored: "whitened", "anogan", "residual",
        "discrimination", "gan_r" or "p_d"; see Notes.
    start : {"nearest", "encoder", "random"}, default="nearest"
        Latents that the search starts from: the nearest of `n_candidates` drawn at
        fit, in whitened features; that of an encoder, which is trained to invert the
        generator [3]_; or `n_restarts` random ones, the same for all rows.
    n_candidates : int, default=2048
        Latents in the bank of starts.
    n_restarts : int, default=1
        Starts for each row; the one with the least loss is kept.
    n_steps : int, default=0
        Gradient steps of each start. The paper takes 500 from a random one.
    step_size : float, default=0.05
        Adam's learning rate in the search.
    tol : float, default=0.0
        A row's search ends early once ten steps have changed its loss by no more than
        this share of it. 0 takes all steps, as in the paper.
    discrimination_weight : float, default=0.1
        The paper's lambda, between 0 and 1.
    prior_weight : float, default=0.0
        Weight of the prior in the search and the score: of the squared norm of z for
        the normal prior, of the squared distance to the box for the uniform one.
    whitening_floor : float or "auto", default="auto"
        Share of the mean variance added to every direction before whitening. "auto" is
        0.1 for images, where the features are many and alike, and 0.001 for tables.
    validation_fraction : float or "auto", default="auto"
        Share of the normal rows held out of training to calibrate the threshold, and
        with ``start="encoder"`` to select the state that is kept. "auto" is a tenth, or
        up to a fifth where a tenth is fewer than 20 rows, and at most 10,000 rows.
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
    model_ : skanogan.models.AnoGAN
        Generator, discriminator, and the search.
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
    With ``R = sum |x - G(z)|``, ``F = sum |f(x) - f(G(z))|`` and lambda =
    `discrimination_weight`, the scores are

    - "whitened": squared Mahalanobis length of f(x) - f(G(z)), not in the paper;
    - "anogan": (1 - lambda) R + lambda F, the paper's A(x);
    - "residual", "discrimination": R or F alone, after the same search;
    - "gan_r": F replaced by the cross-entropy of D(G(z)) against "real" [2]_;
    - "p_d": minus D's logit for x, without a search.

    `score_samples` is minus the score. R is summed over standardised columns, or over
    pixels in [-1, 1]. The paper's procedure is
    ``AnoGANDetector(anomaly_score="anogan", start="random", n_steps=500,
    prior="uniform", averaging=0)``; it differs from the paper in that the random start
    is drawn once at fit, for all rows, so that scoring is repeatable. The paper
    gives neither the latent dimension nor the optimiser of the search.

    References
    ----------
    .. [1] T. Schlegl, P. Seeböck, S. M. Waldstein, U. Schmidt-Erfurth, G. Langs,
       "Unsupervised Anomaly Detection with Generative Adversarial Networks to Guide
       Marker Discovery", IPMI 2017. :doi:`10.1007/978-3-319-59050-9_12`
    .. [2] R. A. Yeh et al., "Semantic Image Inpainting with Deep Generative Models",
       CVPR 2017. :doi:`10.1109/CVPR.2017.728`
    .. [3] T. Schlegl, P. Seeböck, S. M. Waldstein, G. Langs, U. Schmidt-Erfurth,
       "f-AnoGAN: Fast unsupervised anomaly detection with generative adversarial
       networks", Medical Image Analysis 54, 2019. :doi:`10.1016/j.media.2019.01.010`

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skanogan import AnoGANDetector
    >>> digits = load_digits()
    >>> zeros, ones = (digits.images[digits.target == k] for k in (0, 1))
    >>> detector = AnoGANDetector(max_iter=100, random_state=0).fit(zeros[:100])
    >>> detector.predict(ones[:5])
    array([-1, -1, -1, -1, -1])
    """

    model_: AnoGAN

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **GANDetector._parameter_constraints,
        "anomaly_score": [StrOptions(set(SCORES))],
        "start": [StrOptions(set(STARTS))],
        "n_candidates": [Interval(Integral, 1, None, closed="left")],
        "n_restarts": [Interval(Integral, 1, None, closed="left")],
        "n_steps": [Interval(Integral, 0, None, closed="left")],
        "step_size": [Interval(Real, 0, None, closed="neither")],
        "tol": [Interval(Real, 0, 1, closed="left")],
        "discrimination_weight": [Interval(Real, 0, 1, closed="both")],
        "prior_weight": [Interval(Real, 0, None, closed="left")],
    }

    _not_of_training = GANDetector._not_of_training | {
        "start",
        "n_candidates",
        "n_restarts",
        "n_steps",
        "step_size",
        "tol",
        "discrimination_weight",
        "prior_weight",
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
        batch_size: int | str = "auto",
        anomaly_score: str = "whitened",
        start: str = "nearest",
        n_candidates: int = 2048,
        n_restarts: int = 1,
        n_steps: int = 0,
        step_size: float = 0.05,
        tol: float = 0.0,
        discrimination_weight: float = 0.1,
        prior_weight: float = 0.0,
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
        self.batch_size = batch_size
        self.anomaly_score = anomaly_score
        self.start = start
        self.n_candidates = n_candidates
        self.n_restarts = n_restarts
        self.n_steps = n_steps
        self.step_size = step_size
        self.tol = tol
        self.discrimination_weight = discrimination_weight
        self.prior_weight = prior_weight
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
    ) -> AnoGAN:
        if self.start == "encoder" and self.n_restarts > 1:
            raise ValueError(
                f'n_restarts={self.n_restarts} with start="encoder": the encoder '
                'gives one latent a row. Use n_restarts=1, or start="nearest".'
            )
        encoder = EncoderTraining(self.max_iter) if self.start == "encoder" else None
        return AnoGAN(
            self._gan_parts(rows, row_shape, rng, encoder),
            Search(
                score=self.anomaly_score,
                start=self.start,
                n_candidates=self.n_candidates,
                n_restarts=self.n_restarts,
                n_steps=self.n_steps,
                step_size=self.step_size,
                tol=self.tol,
                discrimination_weight=self.discrimination_weight,
                prior_weight=self.prior_weight,
                whitening_floor=whitening_floor(self.whitening_floor, row_shape),
            ),
        )

    def _n_updates(self) -> int:
        of_encoder = self.encoder_max_iter if self.start == "encoder" else 0
        return self.max_iter + of_encoder

    def _training_parameters(self) -> dict[str, Any]:
        parameters = super()._training_parameters()
        # Of the starts, one has a network that is trained.
        if self.start != "encoder":
            parameters["encoder_max_iter"] = None
        return parameters

"""AnoGANDetector: the parameters of AnoGAN, and how they become a model."""

import os
from numbers import Integral, Real
from typing import Any, ClassVar

import torch
from torch import nn

from skanogan._persistence.registry import register_detector
from skanogan._runtime.compatibility import Interval, StrOptions
from skanogan.detectors._gan import GAN_NETWORKS, GANDetector
from skanogan.detectors._network_parameters import RUNNING, THRESHOLD, resolve_shrinkage
from skanogan.exceptions import ParameterWarning
from skanogan.models import AnoGAN, Search
from skanogan.models._anogan import SCORES
from skanogan.nn import Scaling

__all__ = ["AnoGANDetector"]


@register_detector
class AnoGANDetector(GANDetector):
    """Anomaly detection with a GAN and a search of its latent space.

    A generator G learns to draw normal rows, and a discriminator D to tell drawn rows
    from real ones. For a row x the search finds the latent z whose drawing G(z) is
    closest. The score is how close it is [1]_. By default closeness is measured in D's
    features f, whitened by the second moment of f(x) - f(G(z)) for normal rows, and the
    search takes the best of `n_candidates` latents. Notes give the published procedure.

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
        Hidden layers of the MLP generator and of the discriminator. If a table has more
        columns than the sum of these sizes, the columns are features too.
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
        scale that it has for held-out normal rows. "auto" is 1, or 3 for large images.
    max_iter : int or "auto", default="auto"
        Number of updates of each network, whatever the number of rows. 0 leaves the
        networks as they are made, or as you pass them. "auto" is 100, or 600 for large
        images.
    batch_size : int or "auto", default="auto"
        Rows per mini-batch. "auto" is 64 for images and 128 for tables.
    learning_rate : float or "auto", default="auto"
        Learning rate of Adam for generator and discriminator. "auto" is 0.002, or 0.001
        for large images.
    gradient_penalty : float or "auto", default="auto"
        Weight of the R1 penalty on the discriminator at real rows. It stabilises a
        training that diverges or collapses, and takes about a third more time. "auto"
        is 3, or 0 for large images.
    ema_decay : float or "auto", default="auto"
        Decay of the moving average of the generator, which scores use. 0 is for none.
        "auto" is 0.95, or 0.99 for large images.
    anomaly_score : str, default="whitened"
        What is searched for and scored: "whitened", "anogan", "residual",
        "discrimination", "gan_r" or "p_d"; see Notes. "p_d" mostly ranks anomalies as
        more normal than normal rows: its AUROC is .16 and .37 on rows five deviations
        away, and .27 on eight tables, where the default has .95 (docs/methods.md).
    n_neighbors : int or "auto", default="auto"
        Number of nearest training rows whose mean distance makes half of the score. The
        nearest of them may be the closest normal row. The fitted model then holds up to
        10,000 training rows. "auto" is 1, or 0 for large images and for published
        scores. Take 20 for unlabelled rows with anomalies among them.
    n_candidates : int, default=2048
        Number of latents drawn at fit, shared out among the members. The search of a
        row starts from the nearest of a member, in whitened features. 1 is one random
        start for all rows.
    n_steps : int, default=0
        Number of gradient steps from the start. The paper takes 500.
    step_size : float, default=0.05
        Learning rate of Adam in the search.
    discrimination_weight : float, default=0.1
        The paper's lambda, between 0 and 1.
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
        Share of the normal rows held out to calibrate the threshold. "auto" is a tenth,
        or up to a quarter where a tenth is fewer than 60 rows, and at most 10,000 rows.
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
        Generator, discriminator, and the search.
    offset_ : float
        ``decision_function = score_samples - offset_``.
    support_ : ndarray of bool of shape (n_samples,)
        The rows of X that were taken to be normal: those that were trained on, and
        those that the threshold of "auto" was calibrated on.
    history_ : list of dict
        Regular records of the training: ``n_iter``, mean losses and logits since the
        last record, ``seconds``, and ``fit`` (1, and one more for each warm start).
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
    With ``R = sum |x - G(z)|``, ``F = sum |f(x) - f(G(z))|`` and lambda =
    `discrimination_weight`, the scores are

    - "whitened": squared Mahalanobis length of f(x) - f(G(z)), not in the paper;
    - "anogan": (1 - lambda) R + lambda F, the paper's A(x);
    - "residual", "discrimination": R or F alone, after the same search;
    - "gan_r": F replaced by the cross-entropy of D(G(z)) against "real" [2]_;
    - "p_d": minus D's logit for x, without a search.

    `score_samples` is minus the score. Of the default score it is minus the logarithm,
    in standard deviations from the mean of held-out normal rows: about 0 for a normal
    row, the more negative the more anomalous. Members and nearest rows are averaged on
    this scale. R is summed over standardised columns, or over pixels in [-1, 1]. The
    paper's procedure is ``AnoGANDetector(anomaly_score="anogan", n_candidates=1,
    n_steps=500, prior="uniform", ema_decay=0, n_estimators=1)``. It differs from the
    paper in that the random start is drawn once at fit, for all rows, so that scores
    are repeatable. The paper gives neither the latent dimension nor the optimiser of
    the search.

    References
    ----------
    .. [1] T. Schlegl, P. Seeböck, S. M. Waldstein, U. Schmidt-Erfurth, G. Langs,
       "Unsupervised Anomaly Detection with Generative Adversarial Networks to Guide
       Marker Discovery", IPMI 2017. :doi:`10.1007/978-3-319-59050-9_12`
    .. [2] R. A. Yeh et al., "Semantic Image Inpainting with Deep Generative Models",
       CVPR 2017. :doi:`10.1109/CVPR.2017.728`

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

    _parameter_groups: ClassVar[dict[str, tuple[str, ...]]] = {
        "Networks": GAN_NETWORKS,
        "Training": (
            *("n_estimators", "max_iter", "batch_size", "learning_rate"),
            *("gradient_penalty", "ema_decay"),
        ),
        "Score": (
            *("anomaly_score", "n_neighbors", "n_candidates", "n_steps", "step_size"),
            *("discrimination_weight", "shrinkage"),
        ),
        "Threshold": THRESHOLD,
        "Running": RUNNING,
    }

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **GANDetector._parameter_constraints,
        "anomaly_score": [StrOptions(set(SCORES))],
        "n_candidates": [Interval(Integral, 1, None, closed="left")],
        "n_steps": [Interval(Integral, 0, None, closed="left")],
        "step_size": [Interval(Real, 0, None, closed="neither")],
        "discrimination_weight": [Interval(Real, 0, 1, closed="both")],
    }

    _scoring_parameters = GANDetector._scoring_parameters | {
        "n_candidates",
        "n_steps",
        "step_size",
        "discrimination_weight",
    }

    _auto: ClassVar[dict[str, tuple[Any, Any]]] = {
        **GANDetector._auto,
        "n_estimators": (1, 3),
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
        gradient_penalty: float | str = "auto",
        ema_decay: float | str = "auto",
        anomaly_score: str = "whitened",
        n_neighbors: int | str = "auto",
        n_candidates: int = 2048,
        n_steps: int = 0,
        step_size: float = 0.05,
        discrimination_weight: float = 0.1,
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
        self.gradient_penalty = gradient_penalty
        self.ema_decay = ema_decay
        self.anomaly_score = anomaly_score
        self.n_neighbors = n_neighbors
        self.n_candidates = n_candidates
        self.n_steps = n_steps
        self.step_size = step_size
        self.discrimination_weight = discrimination_weight
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
    ) -> AnoGAN:
        return AnoGAN(
            self._gan_parts(scaling, row_shape, rng),
            Search(
                score=self.anomaly_score,
                # Five members then score in twice the time of one, not in five times.
                n_candidates=-(-self.n_candidates // self._resolved("n_estimators")),
                n_steps=self.n_steps,
                step_size=self.step_size,
                discrimination_weight=self.discrimination_weight,
                shrinkage=resolve_shrinkage(self.shrinkage, row_shape),
            ),
        )

    def _training_warnings(
        self, history: list[dict[str, float]]
    ) -> list[tuple[type[Warning], str]]:
        warnings = super()._training_warnings(history)
        searches = self.n_steps or self.n_candidates > self._resolved("n_estimators")
        if not searches and self.anomaly_score != "p_d":
            message = (
                f"n_candidates={self.n_candidates} with n_steps=0 leaves nothing to "
                "search: all rows are compared with the same generated row. Raise "
                "n_candidates or n_steps."
            )
            warnings.append((ParameterWarning, message))
        return warnings

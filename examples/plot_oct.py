"""
The AnoGAN paper's experiment: retinal OCT
==========================================

AnoGAN was published with an experiment on optical coherence tomography (OCT) of the
retina. A GAN is trained on patches of healthy scans. A patch is scored, and its lesions
are marked, by the difference from the closest patch that the GAN can generate. This
page repeats the experiment with the methods of the paper's table (except its
adversarial auto-encoder), f-AnoGAN, OCGAN's auto-encoder and two detectors without
networks.

The scans of this page are simulated, so it needs no data, and for each patch it is
known whether it shows a lesion. To run it on real scans, which takes longer, give a
file with the arrays ``x`` (n scans of 144 x 256, uint8), ``y`` (0 for normal scans) and
``name`` (numbered as they were recorded), or its path in the environment variable
SKANOGAN_OCT::

    python plot_oct.py oct_neh.npz

For real scans, only the disease of a whole scan is known, so scans are compared instead
of patches.
"""

# %%
# The simulated scans have 32 rows and 128 columns, and the retina in them is flat. From
# top to bottom they show the vitreous, nerve fibres (bright), inner layers,
# photoreceptors (dark), the pigment epithelium (the brightest band) and the choroid,
# with speckle and shadows of vessels. Two diseases are simulated: drusen, which are
# bumps of the bright band, and fluid, which appears as a dark hole with a swelling.
import os
import sys
import tempfile
import warnings

import matplotlib.pyplot as plt
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import gaussian_filter, gaussian_filter1d
from scipy.special import expit
from sklearn.ensemble import IsolationForest
from sklearn.metrics import RocCurveDisplay, roc_auc_score, roc_curve

from skanogan import AnoGANDetector, FAnoGANDetector, OCGANDetector
from skanogan.baselines import KNNDistance
from skanogan.exceptions import CollapseWarning
from skanogan.image import PatchDetector
from skanogan.inspection import AnomalyMapDisplay

# Start of each layer, as a share of the retina's thickness, and its brightness.
LAYERS = ((0.0, 0.75), (0.15, 0.45), (0.45, 0.55), (0.6, 0.2), (0.85, 1.0))
BAND = 24  # the row where the bright band ends


def made_up_scan(rng, disease=None):
    """Simulate a scan (32, 128) and the mask of its lesions."""
    columns = np.arange(128)

    def wavy(size, length):
        noise = gaussian_filter1d(rng.normal(size=128 + 6 * length), length)
        return size * (noise / noise.std())[3 * length :][:128]

    thickness = 17 + wavy(0.8, 25)
    band = BAND + wavy(0.3, 12)
    lift, hole = np.zeros(128), np.zeros((32, 128))
    centre = rng.uniform(16, 112)
    if disease == "drusen":
        for shift in (-9, 0, 9):
            height, width = rng.uniform(2, 4.5), rng.uniform(2, 3.5)
            bump = np.exp(-(((columns - centre - shift) / width) ** 2))
            lift = np.maximum(lift, height * bump)
    if disease == "fluid":
        across = (columns - centre) / rng.uniform(7, 13)
        thickness += 3 * np.exp(-(across**2))
        down = (np.arange(32)[:, None] - BAND + 10) / rng.uniform(2.5, 4)
        hole = expit(8 * (1 - across**2 - down**2))
    depth = np.arange(32)[:, None] - (band - thickness)
    scan = np.full((32, 128), 0.05)
    for start, grey in LAYERS:
        lifted = lift if grey == 1 else 0  # the bright band has the bumps
        scan = np.where(depth >= start * thickness - lifted, grey, scan)
    scan = np.where(depth > thickness - lift, 0.5, scan)  # under the bumps
    choroid = 0.45 * np.exp(-np.maximum(depth - thickness, 0) / 6)
    scan = np.where(depth > thickness, choroid, scan) * (1 - 0.85 * hole)
    for vessel in rng.uniform(0, 128, rng.poisson(1.5)):
        scan *= 1 - 0.5 * np.exp(-(((columns - vessel) / 1.5) ** 2)) * (depth > 4)
    speckle = rng.gamma(20, 1 / 20, scan.shape) * rng.uniform(0.85, 1.15)
    lesion = (hole > 0.5) | ((lift > 1) & (np.abs(depth - thickness + lift) < 3))
    return gaussian_filter(scan, (0.5, 0)) * speckle, lesion


def made_up_scans(seed):
    """Simulate training scans, and test scans with their kinds and lesions."""
    rng = np.random.RandomState(seed)
    train = np.stack([made_up_scan(rng)[0] for _ in range(76)])
    kinds = np.repeat(["normal", "drusen", "fluid"], [20, 10, 10])
    tested = [made_up_scan(rng, kind) for kind in kinds]
    test, lesions = (np.stack(part) for part in zip(*tested, strict=True))
    return train.astype(np.float32), test.astype(np.float32), kinds, lesions


def real_scans(path):
    """Read training scans, and test scans with their kinds; lesions are unknown."""
    # The folder examples/studies of a checkout.
    from studies.oct import numbers, split
    from studies.retina import align_retina

    with np.load(path, allow_pickle=False) as file:
        x, y, number = file["x"], file["y"], numbers(file["name"])
    aligned = np.stack([align_retina(scan, (-44, 20), (2, 2)) for scan in x])
    train, test = split(y, number, 0)
    kinds = np.array(["normal", "AMD", "DME"])[y[test]]
    return aligned[train], aligned[test], kinds, None


path = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SKANOGAN_OCT", "")
on_real_scans = path.endswith(".npz")
train, test, kinds, lesions = real_scans(path) if on_real_scans else made_up_scans(0)
counts = {kind: int((kinds == kind).sum()) for kind in dict.fromkeys(kinds.tolist())}
print(f"{len(train)} normal scans to train on; to test: {counts}")

# %%
# The detectors see patches that are as high as the scans and 16 columns wide.
# `PatchDetector` draws patches from the training scans, and combines the results of all
# patches of a test scan. With ``memory=``, the six scores of AnoGAN share one training.
# "anogan" is the paper's A(x), but the search starts from the best of 2,048 latents
# instead of a random one, and takes fewer steps than 500. "residual" and
# "discrimination" are the two terms of A(x), each with its own search; "whitened" is
# the default of `AnoGANDetector`.
PATCH, STRIDE = (32, 16), (32, 16)
memory = tempfile.TemporaryDirectory()
shared = {"memory": memory.name, "random_state": 0}
gan = {"max_iter": 2000, **shared}
n_steps, encoder_max_iter, patches_per_image = 50, 2000, 64
if not on_real_scans:  # few updates of small networks keep this page quick
    shared |= {"n_filters": 16, "batch_size": 32}
    gan = {"max_iter": 200, "learning_rate": 1e-3, "latent_dim": 8, **shared}
    n_steps, encoder_max_iter, patches_per_image = 5, 100, 32


def anogan(score, n_steps=n_steps):
    return AnoGANDetector(anomaly_score=score, n_steps=n_steps, **gan)


detectors = {
    "AnoGAN": anogan("anogan"),
    "GAN_R": anogan("gan_r"),
    "P_D": anogan("p_d"),
    "R only": anogan("residual"),
    "D only": anogan("discrimination"),
    "auto-encoder": OCGANDetector(
        latent_discriminator=False,
        visual_discriminator=False,
        n_mining_steps=0,
        anomaly_score="reconstruction",
        max_iter=1000 if on_real_scans else 100,
        **shared,
    ),
    "AnoGAN, whitened": anogan("whitened", n_steps=0),
    "f-AnoGAN": FAnoGANDetector(
        anomaly_score="f_anogan", encoder_max_iter=encoder_max_iter, **gan
    ),
    "IsolationForest": IsolationForest(random_state=0),
    "5-NN": KNNDistance(),
}
# The small networks of this example draw patches that are too much alike.
warnings.simplefilter("ignore", CollapseWarning)
by_scan = {
    name: PatchDetector(
        detector,
        patch_size=PATCH,
        stride=STRIDE,
        patches_per_image=patches_per_image,
        pooling="mean",
        random_state=0,
    ).fit(train)
    for name, detector in detectors.items()
}

# %%
# If the lesions are known, patches are compared: a patch with a lesion of any size is
# positive, as in the paper. Otherwise scans are compared, and the score of a scan is
# the mean over its patches.
if lesions is None:
    positive = kinds != "normal"
    scores = {name: -detector.score_samples(test) for name, detector in by_scan.items()}
else:
    windows = sliding_window_view(test, PATCH, (1, 2))[:, 0, :: STRIDE[1]]
    patches = windows.reshape(-1, *PATCH)
    positive = sliding_window_view(lesions, PATCH, (1, 2))[:, 0, :: STRIDE[1]]
    positive = positive.any((2, 3)).ravel()
    scores = {}
    for name, detector in by_scan.items():
        flat = name in ("IsolationForest", "5-NN")
        rows = patches.reshape(len(patches), -1) if flat else patches
        scores[name] = -detector.estimator_.score_samples(rows)

PAPER = {"AnoGAN": 0.89, "GAN_R": 0.88, "P_D": 0.72}
print(
    f"{positive.sum()} of {len(positive)} {'scans' if on_real_scans else 'patches'} "
    "are positive. The paper's AUC is for other scans, patches of 64 x 64."
)
head = ("precision", "recall", "sensitivity", "specificity", "AUC", "AUC in the paper")
print(f"| {'':16} | " + " | ".join(head) + " |\n" + "|---" * (len(head) + 1) + "|")
for name, score in scores.items():
    # Youden's threshold: sensitivity + specificity is greatest.
    false, true, thresholds = roc_curve(positive, score)
    flagged = score >= thresholds[np.argmax(true - false)]
    recall, precision = flagged[positive].mean(), positive[flagged].mean()
    figures = (precision, recall, recall, (~flagged)[~positive].mean())
    figures = [f"{figure:.2f}" for figure in figures]
    figures += [f"{roc_auc_score(positive, score):.3f}", str(PAPER.get(name, ""))]
    print(f"| {name:16} | " + " | ".join(figures) + " |")

# %%
# Recall and sensitivity are the same quantity; the paper's table has a column for each.
# The next figure shows the ROC curves of five of the methods.
figure, axes = plt.subplots(figsize=(6, 5), layout="constrained")
styles = {
    "AnoGAN": "-",
    "AnoGAN, whitened": "--",
    "f-AnoGAN": "-.",
    "auto-encoder": ":",
    "5-NN": (0, (5, 1, 1, 1, 1, 1)),
}
for name, style in styles.items():
    display = RocCurveDisplay.from_predictions(
        positive, scores[name], name=name, ax=axes
    )
    display.line_.set(linestyle=style, linewidth=2)
axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
axes.set(
    xlabel="false positive rate",
    ylabel="true positive rate",
    title=f"OCT, {'real scans' if on_real_scans else 'patches of simulated scans'}",
)
axes.legend(loc="lower right")

# %%
# The last figure marks lesions. The closest normal image consists of patches side by
# side. The map is the difference of scan and closest normal image. It is stitched from
# overlapping patches and smoothed over a pixel or two, less than the grain of the
# speckle.
detector = by_scan["AnoGAN"]
scan_scores = detector.score_samples(test)
shown, closest, maps = [], [], []
for kind in counts:
    of_kind = np.flatnonzero(kinds == kind)
    order = of_kind[np.argsort(scan_scores[of_kind])]
    shown.append(order[len(order) // 4])  # neither a clear nor a hidden case
    scan = test[shown[-1]]
    side_by_side = scan.reshape(32, -1, PATCH[1]).transpose(1, 0, 2)
    drawn = detector.estimator_.reconstruct(side_by_side)
    closest.append(drawn.transpose(1, 0, 2).reshape(scan.shape))
    maps.append(gaussian_filter(detector.anomaly_map(scan, stride=(32, 4)), 1.5))
display = AnomalyMapDisplay.from_predictions(
    test[shown],
    closest,
    maps,
    scan_scores[shown],
    indices=range(len(shown)),
    figure=plt.figure(figsize=(10, 3), layout="constrained"),
)
for kind, axis in zip(counts, display.axes_[:, 0], strict=True):
    axis.set_ylabel(kind, rotation=90, ha="center", va="bottom")
memory.cleanup()
plt.show()

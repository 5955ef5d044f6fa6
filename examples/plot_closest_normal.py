"""
The closest normal digit
========================

This is the usual demonstration of AnoGAN. A GAN that was trained on one digit can only
generate this digit. Another digit is reconstructed as the nearest generated image, and
the difference shows that it is an anomaly.

By default the page uses scikit-learn's digits of 8 x 8 pixels and runs in seconds. With
MNIST it runs in minutes: give the path of an ``.npz`` file with ``x_train``,
``y_train``, ``x_test`` and ``y_test`` as the first argument or in the environment
variable ``SKANOGAN_MNIST``.
"""

# %%
# The test images are all ten digits, and noise (random pixels).
import os
import sys
import tempfile

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from skanogan import AnoGANDetector
from skanogan.inspection import (
    AnomalyMapDisplay,
    EmbeddingDisplay,
    SampleDisplay,
    ScoreDistributionDisplay,
    TrainingCurveDisplay,
)

path = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SKANOGAN_MNIST")
if path:
    with np.load(path) as data:
        train, digit = data["x_train"], data["y_train"]
        test, test_digit = data["x_test"][:1000], data["y_test"][:1000]
    max_iter, n_steps = 2000, 100
else:
    digits = load_digits()
    train, test, digit, test_digit = train_test_split(
        digits.images, digits.target, test_size=120, random_state=0
    )
    max_iter, n_steps = 300, 30

rng = np.random.RandomState(0)
noise = rng.uniform(0, train.max(), size=(20, *train.shape[1:])).astype(train.dtype)
test = np.concatenate([test, noise])
kind = np.array([*map(str, test_digit), *["noise"] * len(noise)])
kinds = [*"0123456789", "noise"]
drawn = [int(np.flatnonzero(kind == k)[0]) for k in ("0", "1", "6", "noise")]


def report(detector, normal):
    """Print residuals and scores of the normal digit, other digits and noise."""
    # Half the map: its unit is half the range of the pixels.
    residual = detector.anomaly_map(test).mean(axis=(1, 2)) / 2
    scores = detector.score_samples(test)
    flagged = scores < detector.offset_
    other = (kind != normal) & (kind != "noise")
    for name, rows in (
        (f"the digit {normal}", kind == normal),
        ("other digits", other),
        ("noise", kind == "noise"),
    ):
        print(
            f"{name:12} {rows.sum():4} images: residual {residual[rows].mean():.3f}, "
            f"median score {np.median(scores[rows]):.1f}, "
            f"{flagged[rows].mean():.0%} called anomalies"
        )
    nearest = min(kinds, key=lambda k: residual[kind == k].mean() + (k == normal))
    print(f"the least residual of another digit: {nearest}")
    digits = kind != "noise"
    auroc = roc_auc_score(kind[digits] == normal, scores[digits])
    print(f"AUROC against other digits: {auroc:.3f}")


# %%
# A search by gradient steps
# --------------------------
# Gradient steps in the latent space minimise the difference between the pixels of the
# generated image and the row. The score is the remaining residual. The search starts
# from the nearest of 2,048 generated images instead of a random one.
#
# The detector is trained on zeros. Residuals are means over pixels, as a share of the
# range of the pixels.
#
# The figure shows a zero, a one, a six and noise. A usual zero reaches half of the
# scale of the maps. With ``memory=``, the two detectors of this page share a training.
memory = tempfile.TemporaryDirectory()
settings = {"max_iter": max_iter, "memory": memory.name, "random_state": 0}
search = AnoGANDetector(anomaly_score="residual", n_steps=n_steps, **settings)
search.fit(train[digit == 0])
report(search, "0")
AnomalyMapDisplay.from_estimator(search, test, indices=drawn)

# %%
# Zeros are reconstructed well: their residual is smaller than that of other digits. On
# MNIST it is half of it, .034 against .072 (docs/results/images_tables.md). But other
# digits are partly reconstructed, too. Gradient steps can leave the region of latents
# that the generator was trained on, and from there it generates images that are not
# zeros.
#
# The default
# -----------
# The default takes no gradient steps. The closest normal image is the nearest of the
# 2,048 generated images, by a whitened distance of the discriminator's features. All
# reconstructions are zeros.
detector = AnoGANDetector(**settings).fit(train[digit == 0])
report(detector, "0")
AnomalyMapDisplay.from_estimator(detector, test, indices=drawn)

# %%
# The scores of the default. Noise is further away than the other digits.
ScoreDistributionDisplay.from_estimator(
    detector, test, np.where(kind == "0", 1, -1), name="normal: zeros"
)

# %%
# The discriminator's features of the test images, projected to two dimensions. The
# discriminator was trained on zeros only, but its features also separate other digits
# and noise from each other.
EmbeddingDisplay.from_estimator(
    detector, test, kind, max_rows=140, random_state=0, name="trained on zeros"
)

# %%
# Generated images beside training images.
SampleDisplay.from_estimator(detector, train[digit == 0], random_state=0)

# %%
# The losses of the training. The two networks compete, so neither loss decreases for
# long. A GAN has no error that says when to stop.
TrainingCurveDisplay.from_estimator(detector)

# %%
# Trained on ones
# ---------------
# Many digits contain a stroke like a one, so residuals of pixels separate them less.
search.fit(train[digit == 1])
report(search, "1")
detector.fit(train[digit == 1])
report(detector, "1")
memory.cleanup()
plt.show()

"""
An encoder instead of a search
==============================

AnoGAN searches for the latent whose generated image is closest to a row, by gradient
steps. The default of `AnoGANDetector` takes the nearest of 2,048 images that were
generated in `fit`. f-AnoGAN trains an encoder that returns the latent in one pass. This
page compares the reconstructions, times and AUROC of the three on one class of digits.
"""

# %%
# Handwritten nines are normal. We train on half of them, and test on thirty other nines
# and thirty other digits. With ``memory=``, the first two detectors share a training.
import tempfile
import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from skanogan import AnoGANDetector, FAnoGANDetector
from skanogan.metrics import outlier_roc_auc_score

digits = load_digits()
nines = digits.images[digits.target == 9]
others = digits.images[digits.target != 9][:30]
train, X_test = nines[::2], np.concatenate([nines[1::2][:30], others])
y_test = np.repeat([1, -1], 30)

memory = tempfile.TemporaryDirectory()
shared = {
    "n_estimators": 1,
    "max_iter": 300,
    "learning_rate": 1e-3,
    "memory": memory.name,
    "random_state": 0,
}
published = {"anomaly_score": "anogan", "n_candidates": 1, "n_steps": 200}
detectors = {
    "search from a\nrandom start": AnoGANDetector(**published, **shared),
    "nearest of 2,048\n(AnoGANDetector)": AnoGANDetector(**shared),
    "encoder\n(FAnoGANDetector)": FAnoGANDetector(encoder_max_iter=300, **shared),
}
for name, detector in detectors.items():
    detector.fit(train)
    started = time.perf_counter()
    scores = detector.score_samples(X_test)
    milliseconds = (time.perf_counter() - started) / len(X_test) * 1e3
    auroc = outlier_roc_auc_score(y_test, scores)
    in_line = name.replace("\n", " ")
    print(f"{in_line:33} AUROC {auroc:.3f}, {milliseconds:.2f} ms a row")

# %%
# The first row shows three new nines and three other digits. Below are their
# reconstructions by each detector. A search of 200 steps can leave the region of normal
# latents, so the search also reconstructs anomalies, and gives them low anomaly scores.
# The default can only return an image that was generated before it saw the row.
shown = np.concatenate([nines[[1, 3, 5]], others[[1, 4, 6]]])
found = {"row": shown}
found |= {name: d.reconstruct(shown) for name, d in detectors.items()}
figure, axes = plt.subplots(4, 6, figsize=(7.5, 5), layout="constrained")
for axes_row, (name, images) in zip(axes, found.items(), strict=True):
    axes_row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for ax, image in zip(axes_row, images, strict=True):
        ax.imshow(image, cmap="gray_r", vmin=0, vmax=16)
        ax.set(xticks=[], yticks=[])
for ax, title in zip(axes[0], ["normal"] * 3 + ["anomaly"] * 3, strict=True):
    ax.set_title(title, size=10)
memory.cleanup()
plt.show()

"""
A latent space of two dimensions
================================

A generator maps a latent z to a normal image. With a latent space of two dimensions we
can plot all generated images, and the latent of the closest one for each new row. Every
row has such a latent, whether it is normal or not. The distance to the generated image
tells anomalies from normal rows.
"""

# %%
# Normal rows are handwritten zeros and ones. Three or more dimensions would give better
# images, but two can be plotted. The score is the paper's. The search is shorter: 30
# steps from the closest of the images that were generated in `fit`.
import tempfile

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.stats import norm
from sklearn.datasets import load_digits

from skanogan import AnoGANDetector

digits = load_digits()
is_normal = digits.target <= 1
X, normal_digits = digits.images[is_normal], digits.target[is_normal]
train, new, new_digits = X[:240], X[240:], normal_digits[240:]
tested = {
    "zeros": new[new_digits == 0],
    "ones": new[new_digits == 1],
    "fours and sevens": digits.images[np.isin(digits.target, [4, 7])][:60],
}

folder = tempfile.TemporaryDirectory()
shared = {
    "n_estimators": 1,
    "latent_dim": 2,
    "max_iter": 600,
    "learning_rate": 8e-4,
    "memory": folder.name,
    "device": "cpu",
    "random_state": 0,
}
published = AnoGANDetector(anomaly_score="anogan", n_steps=30, **shared).fit(train)

# %%
# The fitted model is a torch module. We generate images for a grid of latents. The grid
# follows the prior N(0, I), so each image represents an equal share of the prior.
model = published.model_.members[0]


def generated(side):
    """Generate images for a grid: places (side**2, 2), images (side**2, 8, 8)."""
    at = (np.arange(side) + 0.5) / side
    places = np.array([(a, b) for b in at[::-1] for a in at])
    latents = torch.tensor(norm.ppf(places), dtype=torch.float32)
    with torch.no_grad():
        images = model.scaling.inverse(model.generator(latents))
    return places, images.numpy()[:, 0]


# %%
# In two dimensions we can compare each row with the images of a fine grid. We take the
# image with the smallest residual, the sum of absolute differences of pixels.
places, images = generated(60)
closest = {
    name: places[[np.abs(images - row).sum((1, 2)).argmin() for row in rows]]
    for name, rows in tested.items()
}

# %%
# Left: the generated images, with zeros on one side, ones on the other and intermediate
# images between them. Right: the latents of new rows. Fours and sevens have latents,
# too, so a latent alone does not show an anomaly.
figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 5), layout="constrained")
_, drawings = generated(10)
framed = np.pad(drawings, ((0, 0), (1, 1), (1, 1))).reshape(10, 10, 10, 10)
tiles = framed.swapaxes(1, 2).reshape(100, 100)
left.imshow(tiles, cmap="gray_r", extent=(0, 1, 0, 1))
left.set(title="Generated images over the latent space", xticks=[], yticks=[])
styles = {
    "zeros": {"marker": "o", "color": "#5b8fc7"},
    "ones": {"marker": "^", "color": "#8fb8e0", "edgecolor": "k", "lw": 0.6},
    "fours and sevens": {"marker": "x", "color": "#a8320b"},
}
for name, at in closest.items():
    right.scatter(*at.T, label=name, **styles[name])
right.set(
    title="Latents of new rows",
    xlim=(0, 1),
    ylim=(0, 1),
    aspect="equal",
    xticks=[0, 0.5, 1],
    yticks=[0, 0.5, 1],
)
figure.legend(loc="outside lower right", ncols=3)
for ax in (left, right):
    ax.set(xlabel="share of the prior below $z_1$", ylabel="share below $z_2$")

# %%
# The score is the distance to the generated image. The paper sums absolute differences
# of pixels and of the discriminator's features. The default is a whitened distance of
# features to the closest of the images that were generated in `fit`, without gradient
# steps, as a logarithm in deviations from normal images. Both detectors have the same
# networks, because the second one takes the training of the first one from `memory`.
default = AnoGANDetector(**shared).fit(train)
folder.cleanup()

figure, axes = plt.subplots(1, 2, figsize=(8.5, 2.8), sharey=True, layout="constrained")
scored = {"published score": published, "whitened score, the default": default}
for ax, (title, detector) in zip(axes, scored.items(), strict=True):
    for y, (name, rows) in enumerate(tested.items()):
        jitter = np.linspace(-0.25, 0.25, len(rows))
        ax.scatter(-detector.score_samples(rows), y + jitter, s=14, **styles[name])
    ax.axvline(-detector.offset_, color="k", ls="--")
    ax.annotate("threshold ", (-detector.offset_, -0.45), ha="right")
    ax.set(xlabel="anomaly score", title=title, ylim=(-0.5, 2.5))
axes[0].set(xscale="log", xticks=[15, 20, 30, 40, 60])
axes[0].set_xticklabels([15, 20, 30, 40, 60])
axes[0].minorticks_off()
axes[0].set_yticks(range(3), tested)
plt.show()

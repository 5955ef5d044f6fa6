"""
The latent space in the plane
=============================

A generator draws a normal row from a latent z. With two dimensions of z one can see all
that it draws, and where the search puts new rows: every row, normal or not, gets the
latent of the closest drawing. What tells an anomaly is how far that drawing is.
"""

# %%
# Normal rows are zeros and ones written by hand. Three dimensions and more draw better;
# two can be looked at. The score is the paper's, the search a shorter one: fifty steps
# from each of the eight closest of the drawings that `fit` has made; the best end is
# kept.
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
asked = {
    "zeros": new[new_digits == 0],
    "ones": new[new_digits == 1],
    "fours and sevens": digits.images[np.isin(digits.target, [4, 7])][:60],
}

published = AnoGANDetector(
    latent_dim=2,
    max_iter=1000,
    learning_rate=5e-4,
    anomaly_score="anogan",
    n_restarts=8,
    n_steps=50,
    device="cpu",
    random_state=0,
).fit(train)

# %%
# The fitted model is a torch module. Its generator draws a grid of latents, spread as
# the prior N(0, I) is: each drawing stands for the same share of all that can be drawn.
side = 10
at = norm.ppf((np.arange(side) + 0.5) / side)
grid = torch.tensor([(a, b) for b in at[::-1] for a in at], dtype=torch.float32)
model = published.model_
with torch.no_grad():
    drawings = model.scaling.inverse(model.generator(grid)).numpy()[:, 0]
    latents = {
        # As torch has images: (n, channels, height, width).
        name: model.find_latents(torch.from_numpy(rows[:, None]))
        for name, rows in asked.items()
    }

# %%
# Left, what is drawn: zeros on one side, ones on the other, and what lies between them.
# Right, where rows land. The fours and sevens have a place as well: a latent alone is
# no evidence.
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 5.4), layout="constrained")
framed = np.pad(drawings, ((0, 0), (1, 1), (1, 1))).reshape(side, side, 10, 10)
tiles = framed.swapaxes(1, 2).reshape(side * 10, side * 10)
left.imshow(tiles, cmap="gray_r", extent=(0, 1, 0, 1))
left.set(title="What the generator draws over the plane", xticks=[], yticks=[])
styles = {
    "zeros": {"marker": "o", "color": "#5b8fc7"},
    "ones": {"marker": "^", "color": "#8fb8e0", "edgecolor": "k", "lw": 0.6},
    "fours and sevens": {"marker": "x", "color": "#a8320b"},
}
for name, z in latents.items():
    right.scatter(*norm.cdf(z.numpy()).T, label=name, **styles[name])
right.set(
    title="Where new rows land",
    xlim=(0, 1),
    ylim=(0, 1),
    aspect="equal",
    xticks=[0, 0.5, 1],
    yticks=[0, 0.5, 1],
)
right.legend(loc="lower right")
for ax in (left, right):
    ax.set(xlabel="share of the prior below $z_1$", ylabel="share below $z_2$")

# %%
# The evidence is the distance to the drawing. The paper adds up absolute differences of
# pixels and of the discriminator's features. The default here measures the features in
# units of what normal rows differ by, at the closest drawing, without a step: the same
# seed makes the same networks, so that the scores are all that differs.
default = AnoGANDetector(
    latent_dim=2, max_iter=1000, learning_rate=5e-4, device="cpu", random_state=0
).fit(train)

figure, axes = plt.subplots(1, 2, figsize=(10, 2.8), sharey=True, layout="constrained")
scored = {
    "published score": (published, [15, 20, 30, 40, 60]),
    "whitened score, the default": (default, [50, 100, 200, 400, 800]),
}
for ax, (title, (detector, ticks)) in zip(axes, scored.items(), strict=True):
    for y, (name, rows) in enumerate(asked.items()):
        jitter = np.linspace(-0.25, 0.25, len(rows))
        ax.scatter(-detector.score_samples(rows), y + jitter, s=14, **styles[name])
    ax.axvline(-detector.offset_, color="k", ls="--")
    ax.annotate("threshold ", (-detector.offset_, -0.45), ha="right")
    ax.set(xscale="log", xlabel="anomaly score", title=title, ylim=(-0.5, 2.5))
    ax.set_xticks(ticks, ticks)
    ax.minorticks_off()
axes[0].set_yticks(range(3), asked)
plt.show()

"""
Your own networks: heartbeats
=============================

The default networks are for tables and images. Other data may need other networks: in a
signal over time, neighbouring columns belong together. You can pass a generator and a
discriminator of your own as torch modules; everything else works as before.
"""

# %%
# The data are simulated heartbeats of 64 samples that differ in rate and height. In an
# anomaly, one beat is early or weak.
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

from skanogan import AnoGANDetector
from skanogan.metrics import outlier_roc_auc_score


def heartbeats(n, rng, anomalous=False):
    """Simulate signals of shape (n, 64)."""
    t = np.arange(64)
    period = rng.uniform(14, 18, size=(n, 1))
    centres = rng.uniform(4, 12, size=(n, 1)) + period * np.arange(5)
    heights = np.ones((n, 5))
    if anomalous:
        beat, early = rng.integers(1, 3, n), rng.random(n) < 0.5
        row = np.arange(n)
        centres[row, beat] -= early * 0.2 * period[:, 0]
        heights[row, beat] = np.where(early, 1, 0.6)
    heights = heights * rng.uniform(0.8, 1.2, size=(n, 1))
    beats = np.exp(-(((t - centres[..., None]) / 1.5) ** 2))
    dips = -0.3 * np.exp(-(((t - centres[..., None] - 3) / 2.0) ** 2))
    signal = ((beats + dips) * heights[..., None]).sum(1)
    return signal + 0.05 * rng.normal(size=(n, 64))


rng = np.random.default_rng(0)
train, normal = heartbeats(600, rng), heartbeats(200, rng)
anomalies = heartbeats(200, rng, anomalous=True)
X_test, y_test = np.concatenate([normal, anomalies]), np.repeat([1, -1], 200)

# %%
# The networks are convolutional in time. The generator maps latents (n, latent_dim) to
# rows (n, 64), on the scale of standardised columns. The discriminator maps rows to one
# logit. In a ``Sequential``, all modules but the last compute the features that the
# score compares. The seed makes their initial weights repeatable.
LATENT_DIM = 4
torch.manual_seed(0)


def up(n_in, n_out):
    return nn.ConvTranspose1d(n_in, n_out, 4, stride=2, padding=1)


def down(n_in, n_out):
    return nn.Conv1d(n_in, n_out, 5, stride=2, padding=2)


generator = nn.Sequential(
    nn.Linear(LATENT_DIM, 32 * 8),
    nn.Unflatten(1, (32, 8)),
    nn.BatchNorm1d(32),
    nn.ReLU(),
    up(32, 16),
    nn.BatchNorm1d(16),
    nn.ReLU(),
    up(16, 8),
    nn.BatchNorm1d(8),
    nn.ReLU(),
    up(8, 1),
    nn.Flatten(),
)
discriminator = nn.Sequential(
    nn.Unflatten(1, (1, 64)),
    down(1, 8),
    nn.LeakyReLU(0.2),
    down(8, 16),
    nn.LeakyReLU(0.2),
    down(16, 32),
    nn.LeakyReLU(0.2),
    nn.Flatten(),
    nn.Linear(32 * 8, 1),
)

# %%
# The detector copies the networks, so those above stay untrained. A clone, a grid
# search or a second fit starts from the same weights.
shared = {
    "latent_dim": LATENT_DIM,
    "learning_rate": 1e-3,
    # Without it, the discriminator wins against the default generator (with a warning).
    "gradient_penalty": 1.0,
    "max_iter": 250,
}
detectors = {
    "default networks": AnoGANDetector(random_state=0, **shared),
    "convolutions in time": AnoGANDetector(
        generator=generator, discriminator=discriminator, random_state=0, **shared
    ),
}
for name, detector in detectors.items():
    decision = detector.fit(train).decision_function(X_test)
    print(
        f"{name:20} AUROC {outlier_roc_auc_score(y_test, decision):.3f}, "
        f"{(decision[y_test == 1] < 0).mean():.1%} false alarms, "
        f"{(decision[y_test == -1] < 0).mean():.1%} found"
    )

# %%
# Generated signals show the reason. The default generator has separate weights for
# every sample, so it must learn a beat separately for each position.
figure, axes = plt.subplots(
    3, 4, figsize=(9, 4.5), sharex=True, sharey=True, layout="constrained"
)
signals = {"training rows": train[:4]}
signals |= {name: d.sample(4, random_state=0) for name, d in detectors.items()}
for axes_row, (name, rows) in zip(axes, signals.items(), strict=True):
    for ax, row in zip(axes_row, rows, strict=True):
        ax.plot(row, color="k" if name == "training rows" else "#a8320b")
    axes_row[0].set_ylabel(name.replace(" ", "\n", 1))
axes[0, 0].set_xlim(0, 63)
figure.supxlabel("sample")
plt.show()

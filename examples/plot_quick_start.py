"""
Quick start: zeros and other digits
===================================

A detector learns from normal rows alone, here from handwritten zeros. For a new image
it returns a score, a label, the closest normal image and a map of the differences.
"""

# %%
# We train on 120 zeros and test on the other 58 zeros and on 300 other digits.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from skanogan import AnoGANDetector

digits = load_digits()
zeros, others = digits.images[digits.target == 0], digits.images[digits.target != 0]
train, new_zeros, others = zeros[:120], zeros[120:], others[:300]

detector = AnoGANDetector(max_iter=300, random_state=0).fit(train)

# %%
# `decision_function` is negative for anomalies, as everywhere in scikit-learn. `fit`
# has set the threshold on zeros that it held out of the training, so that about 5 % of
# new zeros are called anomalies.
normal, abnormal = (detector.decision_function(X) for X in (new_zeros, others))
scores, is_normal = np.r_[normal, abnormal], np.repeat([1, 0], [58, 300])
print(f"zeros called anomalies: {(normal < 0).mean():.1%}")
print(f"other digits found:     {(abnormal < 0).mean():.1%}")
print(f"AUROC:                  {roc_auc_score(is_normal, scores):.3f}")

# %%
# The threshold is estimated from 20 of the 120 rows, so the rate of false alarms is
# known only roughly; `skanogan.conformal` gives a guaranteed rate. The score is minus
# the logarithm of a squared distance to the closest normal image, in deviations from
# the mean of held-out zeros.
bins = np.linspace(-4, 10, 45)
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
axes.hist(-detector.score_samples(others), bins, color="#a8320b", label="other digits")
axes.hist(-detector.score_samples(new_zeros), bins, color="#8fb8e0", label="zeros")
axes.axvline(-detector.offset_, color="k", ls="--", label="threshold")
axes.set(
    xlabel="anomaly score, minus score_samples",
    ylabel="rows",
    title="Digits that were not used in training",
)
axes.legend()

# %%
# `reconstruct` returns the closest normal image of each row, and `anomaly_map` the
# difference from it per pixel. Zeros differ from each other, too. The palest colour is
# therefore what 95 % of the pixels of new zeros do not exceed, and all maps have one
# scale. The last column is the other digit with the highest score.
shown = np.concatenate([new_zeros[:2], others[[0, 3, 6]], others[[abnormal.argmax()]]])
decisions = detector.decision_function(shown)
usual = np.quantile(detector.anomaly_map(new_zeros), 0.95)
rows = {
    "row": (shown, "gray_r", 0, 16),
    "closest\nnormal": (detector.reconstruct(shown), "gray_r", 0, 16),
    "anomaly\nmap": (detector.anomaly_map(shown), "Reds", usual, 2),
}
figure, axes = plt.subplots(3, 6, figsize=(7, 4), layout="constrained")
for axes_row, (name, drawn) in zip(axes, rows.items(), strict=True):
    images, cmap, vmin, vmax = drawn
    axes_row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for ax, image in zip(axes_row, images, strict=True):
        ax.imshow(image, cmap=cmap, vmin=vmin, vmax=vmax)
        ax.set(xticks=[], yticks=[])
for ax, decision in zip(axes[0], decisions, strict=True):
    ax.set_title(f"{'anomaly' if decision < 0 else 'normal'}\n{decision:.1f}", size=11)
plt.show()

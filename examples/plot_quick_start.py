"""
Quick start: which digits are no zeros
======================================

A detector learns from normal rows alone, here from zeros written by hand, and says of
new ones how normal they are, whether they are anomalies, what the closest normal thing
would look like, and where they depart from it.
"""

# %%
# 120 zeros to learn from. The other 58, which it never sees, and 300 other digits are
# what it is asked about.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from skanogan import AnoGANDetector

digits = load_digits()
zeros, others = digits.images[digits.target == 0], digits.images[digits.target != 0]
train, new_zeros, others = zeros[:120], zeros[120:], others[:300]

detector = AnoGANDetector(max_iter=500, random_state=0).fit(train)

# %%
# `decision_function` is negative for what looks abnormal, as everywhere in
# scikit-learn. Its threshold was set by `fit`, on zeros that it had kept from the
# training, to call about 5 % of new zeros anomalies.
normal, abnormal = (detector.decision_function(X) for X in (new_zeros, others))
scores, is_normal = np.r_[normal, abnormal], np.repeat([1, 0], [58, 300])
print(f"zeros called anomalies: {(normal < 0).mean():.1%}")
print(f"other digits found:     {(abnormal < 0).mean():.1%}")
print(f"AUROC:                  {roc_auc_score(is_normal, scores):.3f}")

# %%
# The threshold stands on 20 of the 120 rows, so the share of zeros that it costs is
# known only roughly; `skanogan.conformal` says how roughly. The score itself is minus
# a squared distance to the closest normal thing, and spans orders of magnitude.
bins = np.geomspace(30, 9000, 45)
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
axes.hist(-detector.score_samples(others), bins, color="#a8320b", label="other digits")
axes.hist(-detector.score_samples(new_zeros), bins, color="#8fb8e0", label="zeros")
axes.axvline(-detector.offset_, color="k", ls="--", label="threshold")
axes.set(
    xscale="log",
    xlabel="anomaly score, minus score_samples",
    ylabel="rows",
    title="Digits that were not seen in training",
)
axes.legend()

# %%
# For each row there is the closest normal thing (`reconstruct`), and where the row
# departs from it (`anomaly_map`). The last column is the other digit that looked most
# like a zero to the detector.
shown = np.concatenate([new_zeros[:2], others[[0, 3, 6]], others[[abnormal.argmax()]]])
decisions = detector.decision_function(shown)
rows = {
    "row": (shown, "gray_r", 16),
    "closest\nnormal": (detector.reconstruct(shown), "gray_r", 16),
    "anomaly\nmap": (detector.anomaly_map(shown), "magma_r", 2),
}
figure, axes = plt.subplots(3, 6, figsize=(7, 4), layout="constrained")
for axes_row, (name, (images, cmap, vmax)) in zip(axes, rows.items(), strict=True):
    axes_row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for ax, image in zip(axes_row, images, strict=True):
        ax.imshow(image, cmap=cmap, vmin=0, vmax=vmax)
        ax.set(xticks=[], yticks=[])
for ax, decision in zip(axes[0], decisions, strict=True):
    ax.set_title(f"{'anomaly' if decision < 0 else 'normal'}\n{decision:.0f}", size=9)
plt.show()

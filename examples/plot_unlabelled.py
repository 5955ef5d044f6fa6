"""
Unlabelled rows: clean, or with anomalies among them
====================================================

Novelty detection learns from rows that are known to be normal. Outlier detection takes
all rows as they are, with anomalies among them. This example fits four kinds of rows
that hold 15 % anomalies, without labels, and shows what each detector makes of the
plane. ``contamination=0.15`` says how many rows may be anomalies.
"""

# %%
# The rows
# --------
# They are those of scikit-learn's comparison of outlier detectors, and one more kind:
# anomalies that form a tight cluster. Blue rows are normal.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.covariance import EllipticEnvelope
from sklearn.datasets import make_blobs, make_moons
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor

from skanogan import OCGANDetector

SHARE, N = 0.15, 300
rng = np.random.RandomState(0)
n_anomalies = int(SHARE * N)
n_normal = N - n_anomalies
scattered = rng.uniform(-6, 6, (n_anomalies, 2))
blob = make_blobs(n_normal, centers=[[0, 0]], cluster_std=0.8, random_state=0)[0]
two = make_blobs(n_normal, centers=[[2, 2], [-2, -2]], cluster_std=0.5, random_state=0)
moons = 4 * (make_moons(n_normal, noise=0.05, random_state=0)[0] - [0.5, 0.25])
cluster = [4, 4] + 0.15 * rng.normal(size=(n_anomalies, 2))
data = {
    "one cluster": (blob, scattered),
    "two clusters": (two[0], scattered),
    "moons": (moons, scattered),
    "anomalies in a cluster": (blob, cluster),
}

# %%
# Four detectors
# --------------
# With a float `contamination` and no labels, ``OCGANDetector`` learns from the 75 % of
# the rows that lie closest together, in the features of an untrained network.

detectors = {
    "IsolationForest": IsolationForest(contamination=SHARE, random_state=0),
    "LocalOutlierFactor": LocalOutlierFactor(contamination=SHARE, novelty=True),
    "EllipticEnvelope": EllipticEnvelope(contamination=SHARE, random_state=0),
    "OCGANDetector": OCGANDetector(contamination=SHARE, random_state=0),
}
grid = np.stack(np.meshgrid(*[np.linspace(-7, 7, 60)] * 2), axis=-1)
figure, axes = plt.subplots(
    len(data), len(detectors), figsize=(9, 9), sharex=True, sharey=True
)
for axis, title in zip(axes[0], detectors, strict=True):
    axis.set_title(title, fontsize=11)
for row, (name, (normal, anomalies)) in zip(axes, data.items(), strict=True):
    X = np.r_[normal, anomalies]
    is_anomaly = np.arange(N) >= n_normal
    row[0].set_ylabel(name)
    for axis, detector in zip(row, detectors.values(), strict=True):
        detector.fit(X)
        decisions = detector.decision_function(grid.reshape(-1, 2)).reshape(60, 60)
        axis.contourf(
            *grid.T.swapaxes(1, 2), decisions < 0, levels=[0.5, 1], colors="#f3d9cf"
        )
        axis.scatter(*X.T, s=5, c=np.where(is_anomaly, "#a8320b", "#2f6fb3"))
        auroc = roc_auc_score(is_anomaly, -detector.decision_function(X))
        axis.text(-6.6, -6.4, f"AUROC {auroc:.2f}", fontsize=9)
        axis.set(xticks=[], yticks=[])
figure.suptitle("Shaded: what each detector calls an anomaly. Red rows are anomalies.")
figure.tight_layout()
plt.show()

# %%
# Anomalies in a cluster have near neighbours, and are a direction of large variance. A
# detector that learns from all rows takes them for normal:

X = np.r_[blob, cluster]
all_rows = OCGANDetector(support_fraction=1, random_state=0).fit(X)
print(
    f"AUROC {roc_auc_score(np.arange(N) >= n_normal, -all_rows.score_samples(X)):.2f}"
)

# %%
# `support_` marks the rows that were taken to be normal.

detector = detectors["OCGANDetector"]
print(f"{detector.support_.sum()} of {N} rows, anomalies among them:", end=" ")
print(detector.support_[n_normal:].sum())

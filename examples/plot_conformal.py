"""
A guaranteed rate of false alarms
=================================

The default threshold of a detector seldom gives the rate of false alarms that you want.
`ConformalDetector` holds out a part of the normal rows and sets the threshold by their
scores. At most `alpha` of new normal rows are called anomalies, for any detector. This
page measures the rate on handwritten digits and on a table.
"""

# %%
# To measure false alarms, normal rows are enough. We use handwritten eights, and the
# benign tumours of scikit-learn's breast cancer table. An ``.npz`` file with X and y (1
# for anomalies), such as a table of ADBench, can replace the table:
# ``python plot_conformal.py 38_thyroid.npz``.
import sys
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import IsolationForest
from sklearn.model_selection import ShuffleSplit

from skanogan import AnoGANDetector
from skanogan.conformal import ConformalDetector
from skanogan.exceptions import CalibrationWarning, CollapseWarning

digits = load_digits()
if len(sys.argv) > 1:
    table = Path(sys.argv[1]).stem
    with np.load(sys.argv[1]) as file:
        normal_rows = file["X"][file["y"] == 0][:1000]
else:
    table = "breast cancer, benign normal"
    tumours = load_breast_cancer()
    normal_rows = tumours.data[tumours.target == 1]
normal = {"digits, 8 normal": digits.data[digits.target == 8], table: normal_rows}

# Small networks and few updates keep this page quick. The guarantee does not depend on
# the quality of the detector.
quick = {"hidden_layer_sizes": (64, 64), "ema_decay": 0.95}
gans = [
    AnoGANDetector(image_shape=(8, 8), max_iter=60, **quick),
    AnoGANDetector(max_iter=100, learning_rate=5e-4, **quick),
]

# %%
# In each random split, one half of the rows fits and calibrates the detector, and the
# other half is new. One fit is enough for all values of `alpha`, because a row is
# called an anomaly if its p-value is at most `alpha`. The detector's own threshold is
# measured on the same rows. With so few rows and updates, fits warn.
warnings.simplefilter("ignore", CalibrationWarning)
warnings.simplefilter("ignore", CollapseWarning)
alphas = np.linspace(0.01, 0.2, 39)


def measure(X, detector, n_splits):
    """Shares of new rows called anomalies: (n_splits, n_alphas), (n_splits,)."""
    rates, own = [], []
    splits = ShuffleSplit(n_splits, test_size=0.5, random_state=0)
    for seed, (train, test) in enumerate(splits.split(X)):
        detector.set_params(random_state=seed)
        conformal = ConformalDetector(detector, calibration_size=0.5, random_state=seed)
        p_values = conformal.fit(X[train]).p_values(X[test])
        rates.append(np.mean(p_values[:, None] <= alphas, axis=0))
        own.append(np.mean(conformal.estimator_.predict(X[test]) == -1))
    return np.array(rates), np.array(own)


found = {}
for (name, X), gan in zip(normal.items(), gans, strict=True):
    found[name, "IsolationForest"] = measure(
        X, IsolationForest(n_estimators=50), n_splits=12
    )
    found[name, "AnoGANDetector"] = measure(X, gan, n_splits=8)
for (name, kind), (rates, own) in found.items():
    at = np.argmin(np.abs(alphas - 0.05))
    error = 2 * rates[:, at].std(ddof=1) / np.sqrt(len(rates))
    print(
        f"{name}, {kind}: {rates[:, at].mean():.3f} +- {error:.3f} at alpha = "
        f"{alphas[at]:.2f}; its own threshold: {own.mean():.3f}"
    )

# %%
# The bands are two standard errors to either side. The curves have steps, because with
# n calibration rows the p-values are multiples of 1 / (n + 1). The points on the right
# are the detectors' own thresholds, which do not depend on `alpha`.
figure, panels = plt.subplots(
    1, 2, figsize=(9, 4.2), sharex=True, sharey=True, layout="constrained"
)
styles = {
    "IsolationForest": {"color": "C1", "linestyle": "--", "marker": "s"},
    "AnoGANDetector": {"color": "C0", "linestyle": "-", "marker": "o"},
}
OWN = 0.225
for axes, name in zip(panels, normal, strict=True):
    axes.plot(
        [0, 0.2], [0, 0.2], color="0.3", linewidth=1, linestyle=":", label="alpha"
    )
    for kind, style in styles.items():
        rates, own = found[name, kind]
        mean, error = rates.mean(0), 2 * rates.std(0, ddof=1) / np.sqrt(len(rates))
        line = {key: style[key] for key in ("color", "linestyle")}
        axes.plot(alphas, mean, label=f"{kind}, conformal", **line)
        axes.fill_between(
            alphas, mean - error, mean + error, color=style["color"], alpha=0.2, lw=0
        )
        point = {key: style[key] for key in ("color", "marker")}
        label = f"{kind}, its own threshold"
        axes.plot(OWN, own.mean(), linestyle="none", label=label, **point)
    axes.axvline(0.21, color="0.8", linewidth=1)
    axes.set(title=name, xlabel="alpha")
panels[0].set_xticks(
    [0, 0.05, 0.1, 0.15, 0.2, OWN], ["0", ".05", ".1", ".15", ".2", "own"]
)
panels[0].set(ylabel="measured share of false alarms", xlim=(0, 0.24), ylim=(0, None))
panels[0].legend(fontsize=8, loc="upper left")
plt.show()

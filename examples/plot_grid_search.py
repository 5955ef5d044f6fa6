"""
Grid search and a tuned threshold
=================================

A grid search over a GAN is expensive if each candidate is trained. Here the candidates
differ mostly in their scoring, and with `memory` each training runs once per fold. The
search trains on normal rows only, and measures how well anomalies are found. Then the
threshold of the best candidate is tuned on labelled rows.
"""

# %%
# Handwritten threes and eights are normal; one row in three is another digit. Two
# thirds of the rows are for development, the others are for the final test.
import tempfile
import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import (
    GridSearchCV,
    TunedThresholdClassifierCV,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skanogan import AnoGANDetector
from skanogan.metrics import outlier_f1_score, outlier_f1_scorer, outlier_roc_auc_scorer
from skanogan.model_selection import NoveltyClassifier, NoveltyKFold

digits = load_digits()
rng = np.random.RandomState(0)
is_normal = np.isin(digits.target, [3, 8])
normal = np.flatnonzero(is_normal)
others = rng.permutation(np.flatnonzero(~is_normal))[: len(normal) // 2]
X = digits.data[np.concatenate([normal, others])]
y = np.repeat([1, -1], [len(normal), len(others)])
X, X_test, y, y_test = train_test_split(
    X, y, test_size=1 / 3, stratify=y, random_state=0
)

# %%
# Each pixel counts the black points in a square of 16, so the square root stabilises
# its variance. `NoveltyClassifier` makes a classifier with the labels 1 and -1 of the
# pipeline. It leaves anomalies out of the fit of all steps, also in the last fit on all
# rows.
folder = tempfile.TemporaryDirectory()
detector = AnoGANDetector(
    image_shape=(8, 8), max_iter=100, memory=folder.name, random_state=0
)
model = NoveltyClassifier(make_pipeline(FunctionTransformer(np.sqrt), detector))

# %%
# The grid has six candidates that need two trainings per fold. Each fit uses the
# normal rows of the training folds; AUROC is measured on all rows of the test fold.
folds = NoveltyKFold(3, shuffle=True, random_state=0)
prefix = "estimator__anogandetector__"
search = GridSearchCV(
    model,
    {
        prefix + "gradient_penalty": [0.0, 1.0],  # training
        prefix + "anomaly_score": ["whitened", "anogan", "residual"],  # scoring
    },
    scoring=outlier_roc_auc_scorer,
    cv=folds,
)
started = time.perf_counter()
search.fit(X, y)
print(f"the search: {time.perf_counter() - started:.1f} s")
folder.cleanup()
results = search.cv_results_
order = np.argsort(results["mean_test_score"])
for k in order[::-1]:
    print(
        f"AUROC {results['mean_test_score'][k]:.3f}: "
        f"{ {n.removeprefix(prefix): v for n, v in results['params'][k].items()} }"
    )

# %%
# Each fit has a scale of its own, so a threshold belongs to one fit. With a float `cv`
# and ``refit=False``, the detector is fitted on a part of the rows and keeps the
# threshold that is best for the other part, out of a thousand.
best = clone(search.best_estimator_).set_params(**{prefix + "memory": None})
tuned = TunedThresholdClassifierCV(
    best,
    scoring=outlier_f1_scorer,
    cv=0.4,
    refit=False,
    thresholds=1000,
    random_state=0,
)
tuned.fit(X, y)

# %%
# The default threshold knows only normal rows, and aims at 5 % of false alarms. The
# tuned one knows both kinds of rows, and what F1 rewards. The figure shows F1 on the
# test rows for each threshold of this fit. With few rows, the best threshold of the
# development rows is seldom exactly that of the test rows.
decisions = tuned.estimator_.decision_function(X_test)
thresholds = np.unique(np.r_[decisions, 0.0])
f1 = [outlier_f1_score(y_test, np.where(decisions < t, -1, 1)) for t in thresholds]
named = {"default": 0.0, "tuned": tuned.best_threshold_}
figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
ax.step(thresholds, f1, where="post", color="0.4")
styles = {"default": ("#5b8fc7", "o"), "tuned": ("#a8320b", "D")}
for name, threshold in named.items():
    predicted = np.where(decisions < threshold, -1, 1)
    reached = outlier_f1_score(y_test, predicted)
    false_alarms = (predicted[y_test == 1] == -1).mean()
    found = (predicted[y_test == -1] == -1).mean()
    print(
        f"{name}: F1 {reached:.3f}, {false_alarms:.1%} false alarms, {found:.1%} found"
    )
    colour, marker = styles[name]
    label = f"{name} threshold: F1 {reached:.2f}"
    ax.plot(threshold, reached, marker, color=colour, ms=9, mec="w", label=label)
ax.set(
    xlabel="threshold of decision_function",
    ylabel="F1 of the anomalies",
    title="Test rows",
    xlim=np.quantile(decisions, [0.1, 1]),
)
ax.legend(loc="lower right")
plt.show()

"""
Grid search and threshold tuning
================================

A grid search over a GAN is expensive if each candidate is trained. Here the candidates
differ mostly in their scoring, and with `memory` each training runs once per fold. The
search trains on normal rows only and measures how well anomalies are found. Then the
threshold is tuned, and the result is compared with an IsolationForest on separate test
rows.
"""

# %%
# Handwritten eights are normal; one row in five is another digit. One half of the rows
# is for development, the other half is for the final test.
import tempfile

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import IsolationForest
from sklearn.metrics import RocCurveDisplay
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
normal = np.flatnonzero(digits.target == 8)
others = rng.permutation(np.flatnonzero(digits.target != 8))[: len(normal) // 4]
X = digits.data[np.concatenate([normal, others])]
y = np.repeat([1, -1], [len(normal), len(others)])
X, X_test, y, y_test = train_test_split(X, y, test_size=0.5, stratify=y, random_state=0)

# %%
# Each pixel counts the black points in a square of 16, so the square root stabilises
# its variance. `NoveltyClassifier` makes a classifier with the labels 1 and -1 of the
# pipeline. It leaves anomalies out of the fit of all steps, also in the last fit on all
# rows.
folder = tempfile.TemporaryDirectory()
detector = AnoGANDetector(
    image_shape=(8, 8), max_iter=300, memory=folder.name, random_state=0
)
model = NoveltyClassifier(make_pipeline(FunctionTransformer(np.sqrt), detector))

# %%
# The grid has eight candidates that need two trainings. Each fit uses the normal rows
# of the training folds; AUROC is measured on all rows of the test fold.
folds = NoveltyKFold(5, shuffle=True, random_state=0)
prefix = "estimator__anogandetector__"
search = GridSearchCV(
    model,
    {
        prefix + "gradient_penalty": [0.0, 1.0],  # training
        prefix + "anomaly_score": ["whitened", "anogan"],  # scoring
        prefix + "n_steps": [0, 10],
    },
    scoring=outlier_roc_auc_scorer,
    cv=folds,
)
search.fit(X, y)
results = search.cv_results_
order = np.argsort(results["mean_test_score"])
for k in order[::-1]:
    print(
        f"AUROC {results['mean_test_score'][k]:.3f}, "
        f"{results['mean_fit_time'][k]:.2f} s a fit: "
        f"{ {n.removeprefix(prefix): v for n, v in results['params'][k].items()} }"
    )

# %%
# The threshold is tuned with the same folds. Their trainings are in the cache, so
# nothing is trained. The scores of anomalies have a wide range, so we try a thousand
# thresholds. With 22 anomalies among the test rows, each of them changes F1 by about
# .02. The user guide measures the gain of tuning on more anomalies.
tuned = TunedThresholdClassifierCV(
    search.best_estimator_, scoring=outlier_f1_scorer, cv=folds, thresholds=1000
)
tuned.fit(X, y)
forest = NoveltyClassifier(IsolationForest(random_state=0)).fit(X, y)
folder.cleanup()
classifiers = {
    "AnoGAN": search.best_estimator_,
    "AnoGAN, tuned threshold": tuned,
    "IsolationForest": forest,
}
for name, classifier in classifiers.items():
    f1 = outlier_f1_score(y_test, classifier.predict(X_test))
    print(f"{name}: F1 of the anomalies among the test rows {f1:.3f}")

# %%
# Left: all candidates. Right: the selected candidate on the test rows. Each threshold
# is a point on the curve.
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained")
names = []
for k in order:
    parameters = {n.removeprefix(prefix): v for n, v in results["params"][k].items()}
    names.append(
        f"{parameters['anomaly_score']}, {parameters['n_steps']} steps"
        + (", penalty" if parameters["gradient_penalty"] else "")
    )
left.barh(
    names,
    results["mean_test_score"][order],
    xerr=results["std_test_score"][order],
    color=["C0" if k == search.best_index_ else "0.8" for k in order],
)
left.set(
    xlim=(0.5, 1.02),
    xlabel="AUROC: mean and standard deviation of five folds",
    title="grid search",
)
curves = {
    "AnoGAN, selected": (search.best_estimator_, "C0", "-"),
    "IsolationForest": (forest, "C1", "--"),
}
for name, (classifier, color, linestyle) in curves.items():
    RocCurveDisplay.from_estimator(
        classifier, X_test, y_test, pos_label=-1, name=name, ax=right
    )
    right.lines[-1].set(color=color, linestyle=linestyle)
points = {
    "AnoGAN, default threshold": (search.best_estimator_, "C0", "o"),
    "AnoGAN, tuned threshold": (tuned, "C0", "D"),
    "IsolationForest, its threshold": (forest, "C1", "s"),
}
for name, (classifier, color, marker) in points.items():
    flagged = classifier.predict(X_test) == -1
    right.plot(
        flagged[y_test == 1].mean(),
        flagged[y_test == -1].mean(),
        marker=marker,
        markersize=9,
        markerfacecolor="white",
        markeredgewidth=2,
        color=color,
        linestyle="none",
        label=name,
    )
right.set(
    xlabel="share of normal rows called anomalies",
    ylabel="share of anomalies found",
    title="test rows",
)
right.legend(loc="lower right", fontsize=8)
plt.show()

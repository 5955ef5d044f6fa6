"""
A grid search, a threshold, and what they are worth
===================================================

A search over the parameters of a GAN is dear if each candidate trains: of three
candidates in four only the scoring differs. With `memory` each training is done once a
fold. The search trains on normal rows only, and is measured by how well anomalies are
found; then the threshold is tuned, and the result is compared with an IsolationForest
on rows that nothing was chosen on.
"""

# %%
# Eights, written by hand, are normal; one row in five is another digit. One half is for
# development, the other is kept for the end.
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
# A pixel of these images counts the black points in a square of 16, so that its square
# root is steadier. `NoveltyClassifier` around the pipeline keeps anomalies from all of
# its steps, also in the last fit on all rows, and makes of it a classifier with the
# labels 1 and -1.
folder = tempfile.TemporaryDirectory()
detector = AnoGANDetector(
    image_shape=(8, 8), max_iter=400, memory=folder.name, random_state=0
)
model = NoveltyClassifier(make_pipeline(FunctionTransformer(np.sqrt), detector))

# %%
# Eight candidates of two trainings. Each fold trains on its normal rows; AUROC is
# measured on all of its rows.
folds = NoveltyKFold(3, shuffle=True, random_state=0)
prefix = "estimator__anogandetector__"
search = GridSearchCV(
    model,
    {
        prefix + "gradient_penalty": [0.0, 1.0],  # of training
        prefix + "anomaly_score": ["whitened", "anogan"],  # of scoring
        prefix + "n_steps": [0, 20],
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
# The threshold, by the same folds: their trainings are in the folder, so that nothing
# is trained. The scores of anomalies reach far, hence a thousand thresholds.
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
# On the left all candidates, on the right the chosen one on the rows kept for the end.
# A threshold is a point of the curve.
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
    xlabel="AUROC over three folds, and its deviation",
    title="the search",
)
curves = {
    "AnoGAN, chosen": (search.best_estimator_, "C0", "-"),
    "IsolationForest": (forest, "C1", "--"),
}
for name, (classifier, color, linestyle) in curves.items():
    RocCurveDisplay.from_estimator(
        classifier,
        X_test,
        y_test,
        pos_label=-1,
        name=name,
        ax=right,
        curve_kwargs={"color": color, "linestyle": linestyle},
    )
points = {
    "its default threshold": (search.best_estimator_, "C0", "o"),
    "its tuned threshold": (tuned, "C0", "D"),
    "the forest's threshold": (forest, "C1", "s"),
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
    title="on test rows",
)
right.legend(loc="lower right", fontsize=8)
plt.show()

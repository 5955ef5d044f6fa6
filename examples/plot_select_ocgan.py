"""
Choosing the latent size of OCGAN without an anomaly
====================================================

OCGAN's learning rate and latent size are chosen by the reconstruction error on normal
rows that were not trained on. `GridSearchCV` does that: all rows are normal, so that
any splitter holds out normal rows only, and the scorer never sees a label. The test
rows, with their anomalies, are looked at once, at the end.

Mind that a larger code always rebuilds better, and in the end rebuilds anomalies, too:
the error chooses well among learning rates, and among latent sizes only as long as none
is too large. docs/ocgan.md has a case in which it is.
"""

# %%
# Train on normal rows alone: eights written by hand. The last forty, and all other
# digits, are kept for the end.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, KFold

from skanogan import OCGANDetector

digits = load_digits()
eights = digits.images[digits.target == 8]
others = digits.images[digits.target != 8]
train, test = eights[:-40], np.concatenate([eights[-40:], others])
is_normal = np.arange(len(test)) < 40


# %%
# The scorer: minus the mean squared error of the reconstructions, in the units of X.
def reconstruction_score(detector, X, y=None):
    """Higher is better, as scikit-learn expects of a score."""
    return -np.mean((X - detector.reconstruct(X)) ** 2)


search = GridSearchCV(
    # Without mining, and with few updates, so that this page is quick.
    OCGANDetector(mining=False, max_iter=300, random_state=0),
    {"latent_dim": [4, 32], "learning_rate": [3e-4, 1e-3]},
    scoring=reconstruction_score,
    cv=KFold(2, shuffle=True, random_state=0),
)
search.fit(train)
print("chosen:", search.best_params_)

# %%
# What the choice is worth on the test rows, and what the others would have been.
aurocs = []
for parameters in search.cv_results_["params"]:
    detector = search.estimator.set_params(**parameters).fit(train)
    aurocs.append(roc_auc_score(is_normal, detector.score_samples(test)))
errors = -search.cv_results_["mean_test_score"]
for parameters, error, auroc in zip(
    search.cv_results_["params"], errors, aurocs, strict=True
):
    print(f"{parameters}: validation error {error:.2f}, test AUROC {auroc:.3f}")

# %%
figure, axes = plt.subplots(figsize=(5, 4), layout="constrained")
axes.scatter(errors, aurocs)
axes.margins(x=0.3, y=0.1)
for parameters, x, y in zip(search.cv_results_["params"], errors, aurocs, strict=True):
    label = f"d={parameters['latent_dim']}, rate={parameters['learning_rate']:g}"
    axes.annotate(label, (x, y), xytext=(4, 4), textcoords="offset points", fontsize=8)
axes.scatter(
    errors[search.best_index_],
    aurocs[search.best_index_],
    s=120,
    facecolors="none",
    edgecolors="C3",
    label="chosen",
)
axes.set(
    xlabel="mean squared error on held-out normal rows, grey levels squared",
    ylabel="AUROC on test rows",
    title="Selection that sees no anomaly",
)
axes.legend()
plt.show()

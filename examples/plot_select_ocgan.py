"""
Selecting OCGAN's parameters without anomalies
==============================================

The reconstruction error on held-out normal rows can select OCGAN's learning rate and
latent size. `GridSearchCV` does this: all rows are normal, so any splitter holds out
normal rows, and the scorer uses no labels. The test rows with anomalies are used only
once, at the end.

A larger code always reconstructs normal rows better, but a code that is too large also
reconstructs anomalies. The error therefore selects well among learning rates, and among
latent sizes only if none is too large. docs/ocgan.md shows a counterexample.
"""

# %%
# We train on normal rows alone, handwritten eights. The last forty eights and all other
# digits are the test rows.
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
# The scorer returns minus the mean squared error of the reconstructions, in units of X.
def reconstruction_score(detector, X, y=None):
    """Compute minus the mean squared error; higher is better."""
    return -np.mean((X - detector.reconstruct(X)) ** 2)


search = GridSearchCV(
    # Few updates keep this page quick.
    OCGANDetector(max_iter=300, random_state=0),
    {"latent_dim": [4, 32], "learning_rate": [3e-4, 1e-3]},
    scoring=reconstruction_score,
    cv=KFold(2, shuffle=True, random_state=0),
)
search.fit(train)
print("selected:", search.best_params_)

# %%
# We compare the AUROC of all settings on the test rows.
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
    label="selected",
)
axes.set(
    xlabel="mean squared error on held-out normal rows, grey levels squared",
    ylabel="AUROC on test rows",
    title="Selection without anomalies",
)
axes.legend()
plt.show()

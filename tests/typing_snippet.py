"""The code of a user, for a strict type checker (`make types`).

It is never run. mypy also reports each ``ignore`` that is not needed.
"""

from typing import TYPE_CHECKING

import numpy as np
from sklearn.ensemble import IsolationForest

from skanogan import AnoGANDetector, FAnoGANDetector, OCGANDetector
from skanogan.conformal import ConformalDetector
from skanogan.metrics import outlier_roc_auc_score
from skanogan.model_selection import NoveltyClassifier, NoveltyKFold

if TYPE_CHECKING:
    from typing_extensions import assert_type

    X = np.zeros((40, 3))
    y = np.repeat([1, -1], [36, 4])

    # `fit` returns the class of the detector, so that calls can be chained.
    detector = assert_type(AnoGANDetector(max_iter=5).fit(X), AnoGANDetector)
    assert_type(FAnoGANDetector(device="cpu").fit(X, y), FAnoGANDetector)
    assert_type(OCGANDetector(latent_dim=4).fit(X), OCGANDetector)
    conformal = ConformalDetector(IsolationForest(), alpha=0.1).fit(X)
    assert_type(conformal, ConformalDetector)
    assert_type(NoveltyClassifier(detector).fit(X, y), NoveltyClassifier)

    for values in (
        detector.score_samples(X),
        detector.decision_function(X),
        detector.predict(X),
        detector.reconstruct(X),
        detector.anomaly_map(X),
        detector.embed(X),
        detector.sample(3, random_state=0),
        conformal.p_values(X),
    ):
        assert_type(values, np.ndarray)
    assert_type(detector.offset_, float)
    assert_type(detector.n_iter_, int)
    assert_type(detector.history_, list[dict[str, float]])
    assert_type(detector.image_shape_, tuple[int, int, int] | None)
    assert_type(outlier_roc_auc_score(y, detector.score_samples(X)), float)
    for train, test in NoveltyKFold(2).split(X, y):
        assert_type((train, test), tuple[np.ndarray, np.ndarray])

    # Mistakes that the type checker must report.
    AnoGANDetector(max_iters=5)  # type: ignore[call-arg]
    AnoGANDetector(5)  # type: ignore[call-arg, arg-type]
    OCGANDetector(n_mining_steps="five")  # type: ignore[arg-type]
    AnoGANDetector(start="random")  # type: ignore[call-arg]

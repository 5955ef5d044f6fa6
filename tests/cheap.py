"""The small budget that tests give to detectors.

A fit takes a tenth of a second::

    from cheap import cheap

    detector = cheap(AnoGANDetector, n_steps=5).fit(X)
"""

from skanogan.models import _mining
from skanogan.utils.discovery import all_detectors

__all__ = ["CHEAP", "cheap", "mine_from"]

CHEAP = {
    "n_estimators": 1,
    "max_iter": 10,
    "encoder_max_iter": 10,
    "n_candidates": 64,
    "hidden_layer_sizes": (16, 16),
    "n_filters": 4,
    "n_mining_steps": 5,  # so that all networks are there
    "latent_dim": 4,
    "device": "cpu",
    "random_state": 0,
}


def cheap(detector_class, **parameters):
    """Make a detector with a small budget.

    Parameters
    ----------
    detector_class : type
        The class of the detector.
    **parameters : dict
        Parameters to add to `CHEAP`, or to use instead of those. A parameter that
        `detector_class` lacks is left out if some other detector has it.

    Returns
    -------
    detector : object
        Not fitted.
    """
    known = {name for _, each in all_detectors() for name in names(each)}
    unknown = set(parameters) - known - names(detector_class)
    assert not unknown, f"no detector has the parameters {sorted(unknown)}"
    wanted = {**CHEAP, **parameters}
    return detector_class(
        **{k: v for k, v in wanted.items() if k in names(detector_class)}
    )


def mine_from(monkeypatch, update):
    """Make OCGAN mine from this update on, whatever its networks have learned.

    With a small budget it would never begin.

    Parameters
    ----------
    monkeypatch : pytest.MonkeyPatch
    update : int
        The first update that mines.
    """
    monkeypatch.setattr(_mining, "CHECK_EVERY", update)
    monkeypatch.setattr(_mining, "UNEXPLAINED", float("inf"))
    monkeypatch.setattr(_mining, "BELIEVED", 0.0)


def names(detector_class):
    return set(detector_class().get_params())

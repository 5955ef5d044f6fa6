"""Checks of detectors, in addition to the estimator checks of scikit-learn.

They hold for every detector that derives from `skanogan.base.BaseDetector`, in this
package or another. Each check takes an unfitted detector with a small budget, fits
copies of it on data of its own, and raises an AssertionError that says what is wrong.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from sklearn.utils import get_tags

from skanogan.base import BaseDetector
from skanogan.utils import _input_checks, _process_checks, _score_checks

__all__ = ["CHECKS", "detector_checks", "parametrize_with_checks"]

CHECKS: tuple[Callable[[str, Any], None], ...] = tuple(
    check
    for module in (_score_checks, _process_checks, _input_checks)
    for name, check in vars(module).items()
    if name.startswith("check_")
)
"""All checks, in the order of their definition."""


def detector_checks(
    detector: BaseDetector,
) -> "Iterator[tuple[BaseDetector, Callable[[BaseDetector], None]]]":
    """Yield the detector with each of the checks.

    Parameters
    ----------
    detector : BaseDetector
        An unfitted detector with a small budget, since it is fitted some 60 times. It
        is fitted on tables of 6 columns, or on images if its `image_shape` is set. The
        checks of images use 8 x 8 pixels, or the size in `image_shape`. They are left
        out if the tag ``input_tags.three_d_array`` of the detector is False.

    Yields
    ------
    detector : BaseDetector
        The detector.
    check : callable
        A function of the detector.

    Examples
    --------
    >>> from skanogan import AnoGANDetector
    >>> from skanogan.utils.estimator_checks import detector_checks
    >>> cheap = AnoGANDetector(max_iter=5, n_candidates=64)
    >>> len(list(detector_checks(cheap))) > 20
    True
    """
    takes_images = get_tags(detector).input_tags.three_d_array
    for check in CHECKS:
        if takes_images or check not in _input_checks.IMAGE_CHECKS:
            yield detector, partial(check, type(detector).__name__)


def parametrize_with_checks(detectors: "list[BaseDetector]") -> Any:
    """Parametrise a test over detectors and checks, as scikit-learn's namesake does.

    Parameters
    ----------
    detectors : list of BaseDetector
        Unfitted detectors with a small budget.

    Returns
    -------
    decorator : pytest.MarkDecorator
        A decorator for a test with the arguments ``detector`` and ``check``.
    """
    try:
        import pytest
    except ImportError as error:
        raise ImportError(
            "parametrize_with_checks needs pytest, which is not installed. Install it "
            'with pip install "skanogan[test]", or loop over detector_checks.'
        ) from error

    cases = [
        pytest.param(detector, check, id=f"{detector}-{check.func.__name__}")  # type: ignore[attr-defined]
        for each in detectors
        for detector, check in detector_checks(each)
    ]
    return pytest.mark.parametrize(("detector", "check"), cases)

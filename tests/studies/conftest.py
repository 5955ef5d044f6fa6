from functools import partial

import pytest

from skanogan import AnoGANDetector, FAnoGANDetector, OCGANDetector

BUDGET = {"max_iter": 3, "hidden_layer_sizes": (64,)}


@pytest.fixture
def anogan():
    """AnoGANDetector with a budget of three updates."""
    return partial(AnoGANDetector, **{**BUDGET, "n_candidates": 32})


@pytest.fixture
def fanogan():
    """FAnoGANDetector with a budget of three updates."""
    return partial(FAnoGANDetector, **BUDGET, encoder_max_iter=3)


@pytest.fixture
def ocgan():
    """OCGANDetector with a budget of three updates."""
    return partial(OCGANDetector, **{**BUDGET, "n_filters": 2})


@pytest.fixture
def rows_printed(capsys):
    """Read the cells of the Markdown tables on stdout, row by row."""

    def rows_printed():
        lines = capsys.readouterr().out.splitlines()
        cells = [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in lines
            if line.startswith("| ")
        ]
        assert cells
        return cells

    return rows_printed

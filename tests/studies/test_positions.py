"""A run of the study on artificial tiles, with an untrained network."""

import numpy as np
import pytest
import torch
from studies import positions
from torch import nn


@pytest.fixture
def tiles(tmp_path):
    """A file of 40 images of noise, 16 of them with a bright spot."""
    rng = np.random.RandomState(0)
    images = rng.randint(90, 110, (40, 16, 16)).astype(np.uint8)
    masks = np.zeros((40, 16, 16), np.uint8)
    images[24:, 4:8, 4:8] = 250
    masks[24:, 4:8, 4:8] = 1
    groups = np.concatenate([np.arange(24) // 2, 100 + np.arange(16) // 2])
    kinds = np.repeat([0, 1, 2], [24, 8, 8])
    np.savez(
        tmp_path / "tiles.npz",
        x=images,
        mask=masks,
        y=kinds,
        group=groups,
        classes=np.array(["Free", "Spot", "Uneven"]),
    )
    return str(tmp_path / "tiles.npz")


@pytest.fixture(autouse=True)
def untrained_network(monkeypatch):
    """A convolution with fixed weights in place of the pretrained network."""
    convolution = nn.Conv2d(3, 8, 8, 8)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in convolution.parameters():
            weights.normal_(0, 0.1, generator=generator)
    monkeypatch.setattr(positions, "network", lambda: nn.Sequential(convolution))
    monkeypatch.setattr(positions, "LAYERS", ["0"])


@pytest.mark.filterwarnings("ignore::skanogan.exceptions.CalibrationWarning")
def test_the_study_prints_a_row_with_and_without_the_mean(tiles, rows_printed):
    assert positions.main([tiles, "--seeds", "0", "--only", "nearest"]) == 0
    head, _, *found = rows_printed()
    assert head[:3] == ["positions", "mean subtracted", "pixel"]
    assert [row[1] for row in found] == ["no", "yes"] * 2
    assert min(float(row[2]) for row in found) > 0.9


def test_the_rows_that_are_chosen_first_cover_the_others():
    rng = np.random.RandomState(0)
    X = np.concatenate([rng.normal(0, 0.1, (100, 3)), [[9.0, 9, 9], [-9, 9, 9]]])
    found = positions.FarthestFirst(n_rows=4).fit(X.astype(np.float32))
    scores = found.score_samples(np.float32([[9, 9, 9], [-9, 9, 9], [9, -9, 9]]))
    assert (scores[:2] == 0).all()
    assert scores[2] < -10

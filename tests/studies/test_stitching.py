import numpy as np
import pytest
from studies import stitching

from skanogan import OCGANDetector
from skanogan.image import PatchDetector


def test_a_stitched_map_is_measured(capsys):
    argv = ["--side", "96", "--patch", "16", "--stride", "8", "--max-iter", "2"]
    assert stitching.main(argv) == 0
    printed = capsys.readouterr().out
    assert "MB over the start" in printed
    assert "of which stitching made" in printed


def test_stitching_the_maps_of_a_fitted_detector_makes_no_seams():
    images = [stitching.texture((48, 48), seed) for seed in range(6)]
    detector = PatchDetector(
        OCGANDetector(
            n_mining_steps=0,
            max_iter=50,
            hidden_layer_sizes=(16, 16),
            n_filters=4,
            latent_dim=4,
            device="cpu",
            random_state=0,
        ),
        patch_size=16,
        stride=4,
        random_state=0,
    ).fit(images)
    grey = np.full((37, 37), stitching.GREY, np.uint8)
    patch_map = detector.estimator_.anomaly_map(grey[None, :16, :16])[0]
    span = np.ptp(detector.anomaly_map(images[0]))
    blended = detector.anomaly_map(grey)
    tiled = detector.anomaly_map(grey, stride=16)
    # Weights of a window of 16 pixels change four times as fast as those of 64.
    assert stitching.seams(blended, patch_map, 4) < 0.02 * span
    assert stitching.seams(tiled, patch_map, 16) > 0.05 * span


def test_jumps_are_differences_at_the_borders_of_windows():
    found = np.zeros((6, 1))
    found[2:] += 1  # the second window begins in row 2
    found[5:] += 5  # inside of the last window
    across, elsewhere = stitching.jumps(found, patch=4, stride=2)
    # Borders: rows 0, 2, 4 and 6; the first and the last have no neighbour outside.
    assert across.ravel().tolist() == [1, 0]
    assert elsewhere.ravel().tolist() == [0, 0, 5]


def test_a_step_across_a_border_is_a_seam():
    found, patch_map = np.zeros((24, 24)), np.zeros((8, 8))
    assert stitching.seams(found, patch_map, 4) == 0
    found[12:] += 0.5
    assert stitching.seams(found, patch_map, 4) == pytest.approx(0.5)


def test_a_slope_within_patches_is_not_a_seam():
    # The map of each patch rises by 1 from row to row, and so does the stitched map.
    found = np.arange(24.0)[:, None] + np.zeros(24)
    patch_map = np.arange(8.0)[:, None] + np.zeros(8)
    assert stitching.seams(found, patch_map, 1) < 0.2

"""Measurements of maps by hand, and a run of the study on artificial tiles."""

import numpy as np
import pytest
from studies import localisation
from studies.localisation import METHODS, Tiles, flat_field, main, measure, split
from studies.map_metrics import pixel_auroc, region_overlap

# Two regions, of one pixel and of four, and five pixels of neither.
MASK = np.array([[[1, 0, 1, 1, 0], [0, 0, 1, 1, 0]]], dtype=bool)


def maps_of(small, large, rest):
    """One map: the value of the one pixel, of the four, and of the five others."""
    maps = np.zeros(MASK.shape)
    maps[0, 0, 0] = small
    maps[0, :, 2:4] = np.reshape(large, (2, 2))
    maps[~MASK] = rest
    return maps


def test_pixels_are_ranked_by_hand():
    # Marked pixels 9 and 4 x 1, others 0, 0, 0, 2, 2: of 25 pairs 5 + 4 x 3 are right.
    maps = maps_of(9, [1, 1, 1, 1], [0, 0, 0, 2, 2])
    assert pixel_auroc(MASK, maps) == pytest.approx(17 / 25)


def test_a_perfect_map_has_an_overlap_of_one():
    maps = maps_of(2, [2, 3, 4, 5], [0, 0, 0, 1, 1])
    assert region_overlap(MASK, maps) == pytest.approx(1)


def test_regions_have_the_same_weight_whatever_their_size():
    # Up to the unmarked pixels, all at a rate of 1, one of two regions is above.
    small = region_overlap(MASK, maps_of(9, [-1, -1, -1, -1], [0, 0, 0, 0, 0]))
    large = region_overlap(MASK, maps_of(-1, [9, 9, 9, 9], [0, 0, 0, 0, 0]))
    assert small == pytest.approx(0.5)
    assert large == pytest.approx(0.5)


def test_the_curve_of_overlaps_by_hand():
    # Sorted: 9 small | 8 other | 7 7 of the large one | 6 other | the rest at once.
    # (rate, overlap): (0, .5), (.2, .5), (.2, .75), (.4, .75), then on to (1, 1).
    maps = maps_of(9, [7, 7, 0, 0], [8, 6, 0, 0, 0])
    assert region_overlap(MASK, maps, 0.2) == pytest.approx(0.5)
    assert region_overlap(MASK, maps, 0.4) == pytest.approx(
        (0.2 * 0.5 + 0.2 * 0.75) / 0.4
    )
    # Between two points the curve is a straight line.
    assert region_overlap(MASK, maps, 0.7) == pytest.approx(
        (0.1 + 0.15 + 0.3 * (0.75 + 0.875) / 2) / 0.7
    )


def test_a_constant_map_is_chance():
    maps = np.zeros(MASK.shape)
    assert pixel_auroc(MASK, maps) == 0.5
    assert region_overlap(MASK, maps, 0.3) == pytest.approx(0.15)
    assert region_overlap(MASK, maps, 1) == pytest.approx(0.5)


def test_corners_connect_a_region():
    connected = np.eye(4, dtype=bool)[None]
    apart = connected.copy()
    apart[0, 1, 1] = False
    for masks, overlap in ((connected, 1 / 4), (apart, 1 / 2)):
        maps = -masks.astype(float)
        maps[0, 0, 0] = 1  # one pixel of the one region of four, or of two regions
        assert region_overlap(masks, maps) == pytest.approx(overlap)


@pytest.fixture
def tiles():
    """40 images of stripes, 16 of them with a spot. One mask is empty."""
    rng = np.random.RandomState(0)
    images = 100 + 20 * np.sin(np.arange(16)) + rng.normal(0, 2, (40, 16, 16))
    masks = np.zeros((40, 16, 16), bool)
    kinds = np.repeat([0, 1, 2], [24, 8, 8])
    for i in np.flatnonzero(kinds):
        top, left = rng.randint(12, size=2)
        images[i, top : top + 4, left : left + 4] -= 60
        masks[i, top : top + 4, left : left + 4] = i != 24
    groups = np.concatenate([np.arange(24) // 2, 100 + np.arange(16) // 2])
    return Tiles(
        images.astype(np.uint8), masks, kinds, groups, ["Free", "Spot", "Uneven"]
    )


@pytest.mark.parametrize("development", [True, False])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_group_is_trained_and_tested_on(tiles, seed, development):
    marked = tiles.masks.any((1, 2))
    train, test = split(tiles.kinds, tiles.groups, marked, seed, development)
    assert not set(tiles.groups[train]) & set(tiles.groups[test])
    assert (tiles.kinds[train] == 0).all()
    assert not test[24]  # its mask is empty
    assert (tiles.kinds[test] == 0).any()
    assert (tiles.kinds[test] > 0).any()


def test_rows_of_the_report_are_not_used_in_development(tiles):
    marked = tiles.masks.any((1, 2))
    parts = [
        split(tiles.kinds, tiles.groups, marked, seed, development)
        for seed in range(5)
        for development in (True, False)
    ]
    seen = np.any([train | test for train, test in parts[::2]], axis=0)
    for _, test in parts[1::2]:
        assert not (seen & test).any()


def test_photographs_of_a_tile_with_a_defect_are_not_trained_on(tiles):
    groups = tiles.groups.copy()
    groups[0] = groups[-1]  # a photograph without a defect of a tile with one
    marked = tiles.masks.any((1, 2))
    for development in (True, False):
        train, _ = split(tiles.kinds, groups, marked, 0, development)
        assert not train[0]


def test_a_flat_field_has_no_light_and_no_stripes():
    columns = np.linspace(20, 200, 8).astype(np.uint8)
    images = np.tile(columns, (3, 8, 1))
    assert np.abs(flat_field(images)).max() == 0
    images[1, 2, 5] = 0
    spotted = flat_field(images)
    assert np.argwhere(spotted).tolist() == [[1, 2, 5]]
    assert spotted[1, 2, 5] == -1


def test_measurements_are_of_the_kinds_in_their_names(tiles):
    test = tiles.masks.any((1, 2)) | (tiles.kinds == 0)
    tested = Tiles(*(part[test] for part in tiles[:4]), tiles.names)
    # A map that marks only the first kind.
    maps = np.where(tested.kinds[:, None, None] == 1, tested.masks, 0.0)
    found = measure(maps, maps.max((1, 2)), tested, smoothing=0)
    assert found["Spot"] == 1
    assert found["without Uneven"] == 1
    assert found["Uneven"] == 0.5
    assert 0.5 < found["pixel"] < 1
    assert found["image, score"] == found["image, map"]


def test_the_study_prints_a_row_for_each_map(tiles, tmp_path, monkeypatch, capsys):
    path = tmp_path / "tiles.npz"
    np.savez(
        path,
        x=tiles.images,
        mask=tiles.masks.astype(np.uint8),
        y=tiles.kinds.astype(np.uint8),
        group=tiles.groups,
        classes=np.array(tiles.names),
    )
    pca = {f"PCA, {n} components": localisation._pca(n) for n in (4, 5)}
    monkeypatch.setattr(localisation, "METHODS", {"another": None, **pca})
    argv = [str(path), "--seeds", "0,1", "--only", "components", "--smoothing", "0,1"]
    assert main(argv) == 0
    head, _, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in capsys.readouterr().out.splitlines()
    )
    assert [row[:3] for row in rows] == [
        [f"PCA, {n} components", "residual", width] for n in (4, 5) for width in "01"
    ]
    assert min(float(row[head.index("pixel")]) for row in rows) > 0.7


def test_the_methods_with_networks_can_be_made_and_mapped(tiles, monkeypatch):
    images = flat_field(tiles.images)[:30]
    for make in (localisation.AnoGANDetector, localisation.OCGANDetector):
        method = localisation._detector(make, n_filters=2, latent_dim=2, max_iter=2)
        maps, scores = method(images, images[:3], 0)
        assert {kind: found.shape for kind, found in maps.items()} == {
            "residual": (3, 16, 16),
            "features": (3, 16, 16),
        }
        assert scores.shape == (3,)
    assert len(METHODS) == 7

"""Maps of where a row differs from its reconstruction."""

from unittest.mock import patch

import numpy as np
import pytest
import torch
from cheap import cheap
from scipy.ndimage import gaussian_filter
from torch import nn

from skanogan import OCGANDetector
from skanogan.models import OCGAN, AnoGAN, FAnoGAN
from skanogan.nn import WhitenedMetric
from skanogan.nn._feature_map import (
    by_gradient,
    by_position,
    hidden_maps,
    position_metrics,
    reference_images,
)
from skanogan.nn._networks import StackDiscriminator

KINDS = ["residual", "features"]
MAKERS = ["make_detector", "make_fanogan", "make_ocgan"]


@pytest.fixture(params=MAKERS)
def make(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("kind", KINDS)
def test_maps_of_images_are_of_their_size_and_not_negative(make, kind, zeros):
    detector = make().fit(zeros)
    maps = detector.anomaly_map(zeros[:7], kind=kind)
    assert maps.shape == (7, 8, 8)
    assert maps.dtype == np.float64
    assert (maps >= 0).all()
    assert maps.max() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_maps_of_tables_have_one_value_per_column(make, kind, blob):
    maps = make().fit(blob).anomaly_map(blob[:7], kind=kind)
    assert maps.shape == (7, 5)
    assert (maps >= 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_colour_images_of_any_dtype_have_maps(make, kind, dtype, zeros):
    colour = np.stack([zeros, 16 - zeros, zeros / 2], -1).astype(dtype)
    detector = make().fit(colour)
    maps = detector.anomaly_map(colour[:3], kind=kind)
    assert maps.shape == (3, 8, 8)
    assert np.isfinite(maps).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_map_depends_on_its_row_alone(make, kind, zeros):
    detector = make().fit(zeros)
    together = detector.anomaly_map(zeros[:20], kind=kind, smoothing=1.0)
    alone = detector.anomaly_map(zeros[3:4], kind=kind, smoothing=1.0)[0]
    among_others = np.concatenate([zeros[::-1], zeros[:20] * 3])
    turned = detector.anomaly_map(among_others, kind=kind, smoothing=1.0)
    np.testing.assert_allclose(together[3], alone, rtol=1e-4, atol=1e-5)
    row = len(zeros) - 1 - 3
    np.testing.assert_allclose(turned[row], alone, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def fitted_on_noise():
    """OCGANDetector, and the images of noise that it is fitted on."""
    images = 8 + np.random.RandomState(0).normal(0, 0.5, (120, 16, 16))
    budget = {"max_iter": 60, "n_filters": 8, "latent_dim": 8}
    return cheap(OCGANDetector, **budget).fit(images), images


@pytest.mark.parametrize("kind", KINDS)
def test_the_map_is_highest_at_a_spot_that_was_added(fitted_on_noise, kind):
    detector, images = fitted_on_noise
    spotted = images[:10].copy()
    spotted[:, 3:6, 9:12] += 8
    change = detector.anomaly_map(spotted, kind=kind, smoothing=1.0)
    change -= detector.anomaly_map(images[:10], kind=kind, smoothing=1.0)
    highest = np.array([np.unravel_index(m.argmax(), m.shape) for m in change])
    assert (np.abs(highest - [4, 10]) <= 2).all()


def test_an_untouched_corner_of_the_feature_map_stays_low(make_ocgan):
    rng = np.random.RandomState(0)
    images = 8 + rng.normal(0, 0.5, (60, 32, 32))
    detector = make_ocgan(max_iter=20, n_filters=8, latent_dim=8).fit(images)
    spotted = images[:5].copy()
    spotted[:, 4:8, 4:8] += 8
    maps = detector.anomaly_map(spotted, kind="features")
    assert maps[:, 2:10, 2:10].mean() > 3 * maps[:, 24:, 24:].mean()


@pytest.fixture
def learned_from(monkeypatch):
    """The images that the metrics of positions are estimated from, after a fit."""
    images = []
    for model in (AnoGAN, FAnoGAN, OCGAN):
        prepare = model.prepare_scoring

        def noted(self, x, rng, prepare=prepare):
            images.extend(reference_images(x)[:, 0].numpy())
            prepare(self, x, rng)

        monkeypatch.setattr(model, "prepare_scoring", noted)
    return images


@pytest.mark.parametrize(
    ("maker", "tolerance"),
    [
        ("make_fanogan", 0.01),
        # The map takes the nearest candidate in the last metric, not in the first.
        ("make_detector", 0.1),
        # Stretching the maps of two blocks changes their averages a little.
        ("make_ocgan", 0.15),
    ],
)
def test_without_shrinkage_features_average_to_one_over_the_reference_rows(
    maker, tolerance, zeros, learned_from, request
):
    make = request.getfixturevalue(maker)
    with patch("skanogan.nn._feature_map.SHRINKAGE", 1e-4):
        detector = make(backbone="convolutional", learning_rate=0.01).fit(zeros)
    assert len(detector.model_.members[0].position_metrics) > 0
    maps = detector.anomaly_map(np.array(learned_from), kind="features")
    assert maps.mean() == pytest.approx(1, abs=tolerance)


def test_with_shrinkage_features_average_to_somewhat_less_than_one(
    make, zeros, learned_from
):
    detector = make(backbone="convolutional", learning_rate=0.01).fit(zeros)
    maps = detector.anomaly_map(np.array(learned_from), kind="features")
    assert 0.6 < maps.mean() < 0.97


def test_smoothing_is_the_gaussian_filter_of_scipy_on_each_image(make_detector, zeros):
    detector = make_detector().fit(zeros)
    plain = detector.anomaly_map(zeros[:4])
    smooth = detector.anomaly_map(zeros[:4], smoothing=1.5)
    for before, after in zip(plain, smooth, strict=True):
        np.testing.assert_allclose(after, gaussian_filter(before, 1.5))
    # Mirroring at the borders keeps the sum.
    np.testing.assert_allclose(smooth.sum((1, 2)), plain.sum((1, 2)), rtol=1e-6)


def test_flat_images_have_the_maps_of_the_images(make_detector, zeros):
    images = make_detector().fit(zeros)
    flat = make_detector(image_shape=(8, 8)).fit(zeros.reshape(len(zeros), -1))
    for kind in KINDS:
        maps = flat.anomaly_map(zeros[:3].reshape(3, -1), kind=kind)
        assert np.array_equal(maps, images.anomaly_map(zeros[:3], kind=kind))


def test_maps_of_own_networks_use_the_gradient(make_detector, zeros):
    networks = {
        "generator": nn.Sequential(nn.Linear(4, 64), nn.Unflatten(1, (1, 8, 8))),
        "discriminator": nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Linear(8, 1)),
    }
    detector = make_detector(**networks).fit(zeros)
    assert len(detector.model_.members[0].position_metrics) == 0
    maps = detector.anomaly_map(zeros[:3], kind="features")
    assert maps.shape == (3, 8, 8)
    assert maps.max() > 0


def test_rows_that_are_searched_have_maps(make_detector, blob):
    for n_candidates in (64, 1):
        detector = make_detector(n_steps=3, n_candidates=n_candidates).fit(blob)
        assert np.isfinite(detector.anomaly_map(blob, kind="features")).all()


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"kind": "gradient"}, "not one of .'features', 'residual'."),
        ({"smoothing": -1}, "of 0 or more"),
        ({"smoothing": np.nan}, "of 0 or more"),
        ({"smoothing": "much"}, "of 0 or more"),
        ({"smoothing": 2}, "columns have no neighbours"),
    ],
)
def test_invalid_parameters_of_a_map_are_refused(parameters, said, make_detector, blob):
    detector = make_detector().fit(blob)
    with pytest.raises(ValueError, match=said):
        detector.anomaly_map(blob, **parameters)


# On tensors ----------------------------------------------------------------------


def test_by_gradient_of_linear_features_is_computed_by_hand():
    direction = torch.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0]], dtype=torch.float64)
    x = torch.tensor([[1.0, 2.0, -1.0], [0.5, 0.0, 4.0]], dtype=torch.float64)
    drawn = torch.zeros_like(x)

    def distance(x):
        return ((x - drawn) @ direction.T).square().sum(1)

    shares = by_gradient(distance, x, drawn)
    # Row 0: features (1 - 2, 6) = (-1, 6); dA/dx = 2 (-1, 18, -2) at x.
    torch.testing.assert_close(shares[0], torch.tensor([1.0, 36, 2]).double())
    # Row 1: features (8.5, 0); all shares have one sign and add up to the distance.
    torch.testing.assert_close(shares[1].sum(), distance(x)[1])


def test_by_gradient_takes_account_of_a_bend_on_the_line():
    # relu(a)^2 from a = -1 to 3 is 9; the gradient at 3 alone would say 4 * 6 / 2.
    x, drawn = torch.full((1, 1), 3.0).double(), torch.full((1, 1), -1.0).double()
    shares = by_gradient(lambda a: a.relu().square().sum(1), x, drawn)
    # Points 0.5, 1.5 and 2.5 above the bend: 4 (1 + 3 + 5) / 4.
    assert float(shares) == 9


def test_signed_shares_of_a_table_add_up_to_the_distance(make, blob):
    detector = make(anomaly_score="whitened").fit(blob)
    with torch.no_grad():
        scores = detector.model_.members[0].score(torch.from_numpy(blob)).numpy()
    with patch("skanogan.nn._feature_map.N_GRADIENTS", 200):
        shares = detector.anomaly_map(blob, kind="features")
        with patch.object(torch.Tensor, "abs", torch.Tensor.positive):
            signed = detector.anomaly_map(blob, kind="features")
    assert (signed < 0).any()
    assert np.array_equal(np.abs(signed), shares)
    # The sum over 200 points is not exact where the networks bend.
    np.testing.assert_allclose(signed.sum(1), scores, rtol=0.1)


def test_features_without_a_gradient_are_refused():
    with pytest.raises(ValueError, match='or use kind="residual"'):
        by_gradient(lambda x: x.detach().sum(1), torch.ones(2, 3), torch.zeros(2, 3))


def test_by_gradient_takes_a_network_that_works_in_place():
    network = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 2))
    x, drawn = torch.ones(2, 3), torch.zeros(2, 3)
    shares = by_gradient(lambda x: network(x).square().sum(1), x, drawn)
    assert shares.shape == (2, 3)
    assert (x == 1).all()


class Double(nn.Module):
    """One hidden channel: twice the pixel, independent of its neighbours."""

    def forward(self, x):
        return 2 * x


def one_block():
    return StackDiscriminator([Double()], nn.Linear(16, 1))


def test_positions_are_compared_in_units_of_the_differences_of_normal_rows():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(50, 1, 4, 4, generator=rng)
    drawn = torch.zeros_like(x)
    metrics = position_metrics(one_block(), x, drawn)
    variance = float((2 * x).square().mean())
    query = torch.zeros(1, 1, 4, 4)
    query[0, 0, 1, 2] = 3.0
    found = by_position(one_block(), metrics, query, drawn[:1])
    expected = torch.zeros(1, 1, 4, 4)
    expected[0, 0, 1, 2] = (2 * 3.0) ** 2 / (variance * 1.1)  # shrinkage is a tenth
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("kernel", "padding"), [(4, 1), (5, 2), (3, 1)])
@pytest.mark.parametrize("side", [32, 33])
def test_a_position_is_drawn_at_the_centre_of_its_pixels(kernel, padding, side):
    # Two convolutions that take the mean of their pixels.
    layers = [nn.Conv2d(1, 1, kernel, stride=2, padding=padding) for _ in range(2)]
    for layer in layers:
        nn.init.constant_(layer.weight, 1 / kernel**2)
        nn.init.zeros_(layer.bias)
    network = StackDiscriminator(list(layers), nn.Linear(16, 1))
    # Their mean over a ramp is its value at the centre, so the map is the ramp.
    ramp = torch.arange(float(side)).expand(1, 1, side, side)
    drawn = torch.zeros_like(ramp)
    plain = WhitenedMetric(torch.zeros(1, 0), torch.zeros(0), torch.ones(()))
    unit = nn.ModuleList([plain, plain])
    with torch.no_grad():
        found = by_position(network, unit, ramp, drawn)[0, 0, side // 2].sqrt()
    # At the borders there are zeros from outside, and the square root bends.
    inside = slice(12, side - 12)
    torch.testing.assert_close(found[inside], ramp[0, 0, 0, inside], atol=0.15, rtol=0)


def test_reference_images_come_from_the_whole_range_of_rows():
    rows = torch.arange(1000)
    some = reference_images(rows)
    assert len(some) == 64
    assert some[0] == 0
    assert some[-1] > 900
    assert torch.equal(reference_images(rows[:10]), rows[:10])


def test_ocgan_compares_hidden_maps_of_its_visual_discriminator(make_ocgan, zeros):
    images = np.kron(zeros, np.ones((2, 2)))
    for with_it in (True, False):
        detector = make_ocgan(visual_discriminator=with_it, n_mining_steps=0).fit(
            images
        )
        model = detector.model_.members[0]
        network = model.visual_discriminator or model.autoencoder.encoder
        assert len(model.position_metrics) == len(network.blocks)
        widths = [len(metric.basis) for metric in model.position_metrics]
        assert widths == [block[0].out_channels for block in network.blocks]
        assert (detector.anomaly_map(images[:3], kind="features") > 0).any()


def test_blocks_without_positions_are_left_out():
    network = StackDiscriminator(
        [Double(), nn.Sequential(nn.Flatten(), nn.Linear(16, 3))], nn.Linear(3, 1)
    )
    assert [m.shape for m in hidden_maps(network, torch.zeros(2, 1, 4, 4))] == [
        (2, 1, 4, 4)
    ]
    assert hidden_maps(nn.Flatten(), torch.zeros(2, 1, 4, 4)) == []

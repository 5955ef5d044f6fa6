"""NetworkFeatures: images in, rows or positions out, and the network untouched."""

import copy
import pickle
import threading

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks, get_tags
from torch import nn

from skanogan import AnoGANDetector
from skanogan import features as features_module
from skanogan.features import NetworkFeatures

RNG = np.random.RandomState(0)
COLOUR = RNG.randint(0, 256, (5, 24, 32, 3)).astype(np.uint8)
GREY = RNG.randint(0, 256, (5, 24, 32)).astype(np.uint8)


class Tokens(nn.Module):
    """Turns each pixel into a token, as a transformer does with patches."""

    def forward(self, x):
        return x.flatten(2).transpose(1, 2)


class Twice(nn.Module):
    """Uses one layer twice, another never, and gives a dict."""

    def __init__(self):
        super().__init__()
        self.used = nn.Conv2d(3, 3, 3, padding=1)
        self.unused = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return {"out": self.used(self.used(x))}


def network(seed=0):
    layers = [nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.ReLU()]
    layers += [nn.Conv2d(4, 6, 3, 2, 1), nn.Conv2d(6, 2, 1)]
    made = nn.Sequential(*layers)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in made.parameters():
            weights.normal_(0, 0.5, generator=generator)
    return made


def fitted(images=COLOUR, layers=("0", "4"), **parameters):
    return NetworkFeatures(network(), layers, **parameters).fit(images)


# What comes out ---------------------------------------------------------------------


def test_pooled_features_are_the_means_of_the_layers_outputs():
    found = fitted().transform(COLOUR)
    x = torch.from_numpy(COLOUR).permute(0, 3, 1, 2) / 255
    mean, std = NetworkFeatures(network()).mean, NetworkFeatures(network()).std
    x = (x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    first = network().eval()[:1](x)
    last = network().eval()[:5](x)
    expected = torch.cat([first.mean((2, 3)), last.mean((2, 3))], 1).detach()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_without_layers_the_output_of_the_network_is_taken():
    assert fitted(layers=None).transform(COLOUR).shape == (5, 2)


def test_positions_are_on_the_grid_of_the_largest_map():
    features = fitted(pooling=None)
    assert features.grid_shape_ == (12, 16)
    assert features.transform(COLOUR).shape == (5, 12, 16, 10)


@pytest.mark.parametrize(("grid_size", "shape"), [(6, (6, 6)), ((9, 20), (9, 20))])
def test_a_grid_of_any_size_can_be_asked_for(grid_size, shape):
    found = fitted(pooling=None, grid_size=grid_size).transform(COLOUR)
    assert found.shape == (5, *shape, 10)


def test_the_mean_over_a_smaller_grid_is_that_of_the_map():
    pooled = fitted(layers=("0",)).transform(COLOUR)
    grid = fitted(layers=("0",), pooling=None, grid_size=(6, 8)).transform(COLOUR)
    np.testing.assert_allclose(grid.mean((1, 2)), pooled, rtol=1e-4, atol=1e-5)


def test_names_are_those_of_the_layers():
    features = fitted()
    names = features.get_feature_names_out()
    assert list(names[[0, 3, 4, 9]]) == ["0_0", "0_3", "4_0", "4_5"]
    assert features.layer_channels_ == {"0": 4, "4": 6}


def test_a_data_frame_has_these_names():
    pd = pytest.importorskip("pandas")
    frame = fitted().set_output(transform="pandas").transform(COLOUR)
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == list(fitted().get_feature_names_out())


def test_tokens_are_averaged():
    made = nn.Sequential(nn.Conv2d(3, 4, 3), Tokens())
    found = NetworkFeatures(made, ["1"]).fit_transform(COLOUR)
    maps = NetworkFeatures(made, ["0"]).fit_transform(COLOUR)
    np.testing.assert_allclose(found, maps, rtol=1e-4, atol=1e-5)


# What goes in -----------------------------------------------------------------------


def test_grey_images_are_repeated_to_three_channels():
    colour = np.repeat(GREY[..., None], 3, -1)
    features = fitted()
    assert np.array_equal(features.transform(GREY), features.transform(colour))


def test_a_network_of_one_channel_takes_grey_images():
    made = nn.Conv2d(1, 4, 3)
    assert NetworkFeatures(made, mean=0.5, std=0.5).fit_transform(GREY).shape == (5, 4)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_the_dtype_says_which_values_are_black_and_white(dtype):
    images = GREY / 255
    if np.issubdtype(dtype, np.integer):
        images = np.round(images * np.iinfo(dtype).max)
    found = fitted().transform(images.astype(dtype))
    np.testing.assert_allclose(found, fitted().transform(GREY), rtol=1e-4, atol=1e-4)


def test_boolean_images_are_black_and_white():
    images = GREY > 100
    expected = fitted().transform(images * np.uint8(255))
    np.testing.assert_allclose(fitted().transform(images), expected, rtol=1e-5)


def test_a_range_of_values_can_be_given():
    images = GREY * 10.0 - 1000
    found = fitted(images, value_range=(-1000, 1550)).transform(images)
    np.testing.assert_allclose(found, fitted().transform(GREY), rtol=1e-4, atol=1e-4)


def test_images_are_resized():
    assert fitted(pooling=None, image_size=(16, 40)).grid_shape_ == (8, 20)


def test_a_list_may_hold_images_of_several_sizes():
    images = [COLOUR[0], COLOUR[1, :16], GREY[2], COLOUR[3]]
    features = fitted(batch_size=3)
    found = features.transform(images)
    alone = np.concatenate([features.transform([image]) for image in images])
    np.testing.assert_allclose(found, alone, rtol=1e-4, atol=1e-5)


def test_files_give_the_features_of_their_images(tmp_path):
    for k, image in enumerate(COLOUR):
        np.save(tmp_path / f"{k}.npy", image)
    found = fitted().transform(sorted(tmp_path.glob("*.npy")))
    assert np.array_equal(found, fitted().transform(COLOUR))


def test_batches_do_not_change_the_features():
    found = [fitted(batch_size=n).transform(COLOUR) for n in (1, 2, 32)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[0], found[2], rtol=1e-4, atol=1e-5)


def test_a_batch_of_large_images_has_few_of_them(monkeypatch):
    monkeypatch.setattr(features_module, "BATCH_PIXELS", 2 * 24 * 32)
    features, sizes = fitted(), []
    outputs = NetworkFeatures._outputs

    def counted(self, pixels):
        sizes.append(len(pixels))
        return outputs(self, pixels)

    monkeypatch.setattr(NetworkFeatures, "_outputs", counted)
    features.transform(COLOUR)
    assert sizes == [2, 2, 2]  # the last image twice


def test_batches_are_halved_when_memory_runs_out(monkeypatch):
    features, sizes = fitted(), []
    outputs = NetworkFeatures._outputs

    def short_of_memory(self, pixels):
        sizes.append(len(pixels))
        if len(pixels) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return outputs(self, pixels)

    monkeypatch.setattr(features_module.NetworkFeatures, "_outputs", short_of_memory)
    assert features.transform(COLOUR).shape == (5, 10)
    assert sizes == [32, 16, 8, 4, 2, 2, 4, 2]


# The network ------------------------------------------------------------------------


def test_fit_leaves_the_network_as_it_is():
    made = network().train()
    before = copy.deepcopy(made.state_dict())
    NetworkFeatures(made, ["0"]).fit(COLOUR).transform(COLOUR)
    after = made.state_dict()
    assert made.training
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(module._forward_hooks for module in made.modules())


def test_later_changes_of_the_network_change_nothing():
    made = network()
    features = NetworkFeatures(made, ["4"]).fit(COLOUR)
    before = features.transform(COLOUR)
    with torch.no_grad():
        made[0].weight.zero_()
    assert np.array_equal(features.transform(COLOUR), before)


def test_dropout_and_batch_statistics_are_off():
    features = fitted(layers=("4",))
    assert np.array_equal(features.transform(COLOUR), features.transform(COLOUR))


def test_the_network_is_run_up_to_the_last_layer_only():
    made = network()
    made.append(nn.Conv2d(99, 1, 1))  # does not take what comes before
    assert NetworkFeatures(made, ["0", "4"]).fit_transform(COLOUR).shape == (5, 10)


def test_the_first_use_of_a_layer_counts():
    made = Twice()
    found = NetworkFeatures(made, ["used"], mean=0.0, std=1.0).fit_transform(COLOUR)
    x = torch.from_numpy(COLOUR).permute(0, 3, 1, 2) / 255
    expected = made.used(x).mean((2, 3)).detach()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_threads_do_not_mix_their_images():
    features = fitted()
    expected = [features.transform(COLOUR[k : k + 1]) for k in range(5)]
    wrong = []

    def work(k):
        for _ in range(20):
            if not np.array_equal(features.transform(COLOUR[k : k + 1]), expected[k]):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# As an estimator --------------------------------------------------------------------


@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_estimator_cloneable,
        estimator_checks.check_estimator_repr,
        estimator_checks.check_no_attributes_set_in_init,
        estimator_checks.check_valid_tag_types,
        estimator_checks.check_get_params_invariance,
        estimator_checks.check_set_params,
        estimator_checks.check_mixin_order,
        estimator_checks.check_do_not_raise_errors_in_init_or_set_params,
    ],
    ids=lambda check: check.__name__,
)
def test_scikit_learns_checks_that_need_no_table_pass(check):
    check("NetworkFeatures", NetworkFeatures(network(), ("0",)))


def test_it_is_tagged_as_a_transformer_of_images():
    tags = get_tags(NetworkFeatures(network()))
    assert tags.input_tags.three_d_array
    assert not tags.input_tags.two_d_array
    assert tags.transformer_tags is not None


def test_a_pickle_gives_the_same_features():
    features = fitted()
    copied = pickle.loads(pickle.dumps(features))
    assert np.array_equal(copied.transform(COLOUR), features.transform(COLOUR))


def test_a_clone_is_not_fitted():
    with pytest.raises(NotFittedError):
        clone(fitted()).transform(COLOUR)


def test_it_stands_before_a_detector_in_a_pipeline():
    images = RNG.randint(0, 256, (40, 12, 12)).astype(np.uint8)
    made = NetworkFeatures(network(), ("0", "4"))
    pipe = make_pipeline(made, AnoGANDetector(max_iter=0, random_state=0))
    assert set(pipe.fit(images).predict(images)) <= {1, -1}


def test_a_search_chooses_its_layers():
    labels = np.arange(20) % 2
    images = RNG.randint(0, 100, (20, 12, 12)) + 100 * labels[:, None, None]
    pipe = make_pipeline(NetworkFeatures(network()), LogisticRegression())
    layers = [("0",), ("4",)]
    search = GridSearchCV(pipe, {"networkfeatures__layers": layers}, cv=2)
    search.fit(images.astype(np.uint8), labels)
    assert search.best_params_["networkfeatures__layers"] in layers
    assert search.best_score_ > 0.9


# Wrong use --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "images", "message"),
    [
        ({"layers": ["0", "conv9"]}, COLOUR, "must name modules.*'0', '1'"),
        ({"layers": []}, COLOUR, "must name modules"),
        ({"layers": ["0", "0"]}, COLOUR, "each once"),
        ({"mean": (0.5, 0.5)}, COLOUR, "must both be numbers"),
        ({"std": (1, 0, 1)}, COLOUR, "must be positive"),
        ({"value_range": (1, 1)}, COLOUR, r"must be \(lowest, highest\)"),
        ({"image_size": (3, 4, 5)}, COLOUR, r"image_size=\(3, 4, 5\) is not allowed"),
        ({}, COLOUR / 1.0, r"images\[0\] has floats from .* Pass value_range"),
        ({}, COLOUR[..., :2], r"images\[0\] has 2 channels, but mean has 3 values"),
        ({}, COLOUR[0, :, :, 0], "images has shape"),
        ({}, np.full((1, 8, 8), np.nan), r"images\[0\] has pixels that are NaN"),
    ],
)
def test_wrong_use_says_what_to_do(parameters, images, message):
    features = NetworkFeatures(network(), **parameters)
    with pytest.raises(ValueError, match=message):
        features.fit(images)
    assert not hasattr(features, "network_")


def test_a_network_that_is_no_module_is_refused():
    with pytest.raises(ValueError, match=r"'network' parameter .* must be an instance"):
        NetworkFeatures("resnet18").fit(COLOUR)


def test_a_layer_that_is_not_used_is_named():
    with pytest.raises(ValueError, match=r"did not use the layers \['unused'\]"):
        NetworkFeatures(Twice(), ["unused"]).fit(COLOUR)


def test_an_output_that_is_no_tensor_is_refused():
    with pytest.raises(ValueError, match="returned <class 'dict'> for 1 images"):
        NetworkFeatures(Twice()).fit(COLOUR)


def test_tokens_have_no_positions():
    made = nn.Sequential(nn.Conv2d(3, 4, 3), Tokens())
    with pytest.raises(ValueError, match=r'tokens.* with pooling="mean"'):
        NetworkFeatures(made, pooling=None).fit(COLOUR)


def test_grids_of_images_of_several_sizes_differ():
    features = fitted(pooling=None)
    with pytest.raises(ValueError, match=r"images\[1\] has \(8, 16\) positions"):
        features.transform([COLOUR[0], COLOUR[1, :16]])


def test_a_failed_refit_keeps_the_fitted_network():
    features = fitted()
    before = features.transform(COLOUR)
    features.set_params(layers=["nothing"])
    with pytest.raises(ValueError, match="must name modules"):
        features.fit(COLOUR)
    features.set_params(layers=("0", "4"))
    assert np.array_equal(features.transform(COLOUR), before)


@pytest.mark.parametrize("mode", [torch.device("meta"), torch.autocast("cpu")])
def test_modes_of_torch_change_no_feature(mode):
    # Regression: autocast rounded features, and tensors were on the default device.
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU())
    features = NetworkFeatures(network, mean=0.5, std=0.5, image_size=20)
    expected = features.fit_transform(GREY)
    with mode:
        assert np.array_equal(features.fit_transform(GREY), expected)

"""Fits with networks of the user's own are repeatable, whatever layers they have."""

import numpy as np
import pytest
import torch
from torch import nn

from skanogan.models import AnoGAN
from skanogan.nn._folding import folded


def generator(n_out=5):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, n_out))


def discriminator(*hidden):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 8), nn.LeakyReLU(0.2), *hidden, nn.Linear(8, 1))


class Louder(nn.Module):
    """A generator with a setting that is no tensor."""

    def __init__(self, gain):
        super().__init__()
        self.network = generator()
        self.gain = gain

    def forward(self, z):
        return self.gain * self.network(z)


@pytest.fixture
def make(make_detector):
    return lambda **parameters: make_detector(**{"latent_dim": 3, **parameters})


# Networks that draw random numbers ---------------------------------------------


def test_a_network_that_draws_in_training_is_seeded_by_random_state(make, blob):
    dropout = discriminator(nn.Dropout(0.3))
    torch.manual_seed(5)
    first = make(discriminator=dropout).fit(blob).score_samples(blob)
    torch.manual_seed(6)
    second = make(discriminator=dropout).fit(blob).score_samples(blob)
    assert np.array_equal(first, second)
    plain = make(discriminator=discriminator()).fit(blob).score_samples(blob)
    assert not np.allclose(first, plain)


def test_a_network_that_draws_in_training_does_not_change_the_state_of_torch(
    make, blob
):
    detector = make(discriminator=discriminator(nn.Dropout(0.3)))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    detector.fit(blob)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_lazy_network_gets_the_same_weights_each_time(make, blob):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    scores = []
    for _ in range(2):
        lazy = nn.Sequential(nn.LazyLinear(8), nn.LeakyReLU(0.2), nn.LazyLinear(1))
        scores.append(make(discriminator=lazy).fit(blob).score_samples(blob))
    assert np.array_equal(*scores)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_interrupted_fit_with_dropout_ends_as_an_uninterrupted_one(
    make, blob, tmp_path, interrupt_once
):
    dropout = discriminator(nn.Dropout(0.3))
    whole = make(discriminator=dropout, max_iter=40).fit(blob).score_samples(blob)
    detector = make(discriminator=dropout, max_iter=40, checkpoint=tmp_path / "fit")
    steps = interrupt_once(AnoGAN, at=25)
    with pytest.raises(KeyboardInterrupt):
        detector.fit(blob)
    detector.fit(blob)
    assert len(steps) < 60
    assert np.array_equal(detector.score_samples(blob), whole)


# Settings of networks in the cache ----------------------------------------------


def test_the_cache_distinguishes_settings_of_networks(make, blob, tmp_path):
    louder = make(generator=Louder(5.0)).fit(blob).score_samples(blob)
    make(generator=Louder(1.0), memory=tmp_path).fit(blob)
    kept = make(generator=Louder(5.0), memory=tmp_path).fit(blob)
    assert np.array_equal(kept.score_samples(blob), louder)


def test_the_cache_recognises_equal_settings(make, blob, tmp_path, monkeypatch):
    first = make(generator=Louder(1.0), memory=tmp_path).fit(blob)
    monkeypatch.setattr(type(first.model_.members[0]), "train_step", None)
    again = make(generator=Louder(1.0), memory=tmp_path).fit(blob)
    assert np.array_equal(again.score_samples(blob), first.score_samples(blob))


def test_a_setting_that_cannot_be_compared_is_refused_with_memory(make, blob, tmp_path):
    network = Louder(1.0)
    network.shape = lambda z: z
    with pytest.raises(ValueError, match=r"Louder\.shape .*cannot be pickled"):
        make(generator=network, memory=tmp_path).fit(blob)


# Layers of the networks -------------------------------------------------------


class Tripled(nn.ConvTranspose2d):
    def forward(self, x):
        return 3 * super().forward(x)


class Shifted(nn.BatchNorm2d):
    def forward(self, x):
        return 1 + super().forward(x)


def spectral(layer):
    return nn.utils.parametrizations.spectral_norm(layer)


def hooked(layer):
    layer.register_forward_hook(lambda layer, given, out: 2 * out)
    return layer


@pytest.mark.parametrize(
    "middle",
    [
        [Tripled(4, 3, 2, stride=2), nn.BatchNorm2d(3)],
        [nn.ConvTranspose2d(4, 3, 2, stride=2), Shifted(3)],
        [spectral(nn.ConvTranspose2d(4, 3, 2, stride=2)), nn.BatchNorm2d(3)],
        [hooked(nn.ConvTranspose2d(4, 3, 2, stride=2)), nn.BatchNorm2d(3)],
        [nn.ConvTranspose2d(4, 3, 2, stride=2), hooked(nn.BatchNorm2d(3))],
    ],
    ids=["convolution", "normalisation", "spectral norm", "hook", "another hook"],
)
def test_layers_that_do_more_than_their_class_are_not_folded(middle):
    network = nn.Sequential(nn.Linear(3, 16), nn.Unflatten(1, (4, 2, 2)), *middle)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.fill_(2.0)
            module.running_var.fill_(3.0)
    network.eval().requires_grad_(False)
    z = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(folded(network)(z), network(z))


def test_a_generator_with_spectral_normalisation_is_searched(make, zeros):
    network = nn.Sequential(
        nn.Linear(3, 64),
        nn.Unflatten(1, (4, 4, 4)),
        spectral(nn.ConvTranspose2d(4, 2, 2, stride=2)),
        nn.BatchNorm2d(2),
        nn.ReLU(),
        nn.Conv2d(2, 1, 1),
    )
    detector = make(generator=network, n_steps=2).fit(zeros[:20])
    assert np.isfinite(detector.score_samples(zeros)).all()


def test_a_discriminator_with_batch_normalisation_takes_a_batch_of_one_row(make, blob):
    detector = make(discriminator=discriminator(nn.BatchNorm1d(8)), batch_size=1)
    assert np.isfinite(detector.fit(blob).score_samples(blob)).all()


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells = nn.LSTM(3, 5)

    def forward(self, z):
        return self.cells(z)


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (nn.Sequential(nn.Linear(3, 5), nn.BatchNorm2d(5)), "expected 4D input"),
        (Recurrent(), "it gives tuple, not a tensor"),
    ],
)
def test_a_generator_that_cannot_draw_rows_is_refused(make, blob, network, told):
    refused = rf"The generator does not take latents of dimension 3.*{told}"
    with pytest.raises(ValueError, match=refused):
        make(generator=network).fit(blob)


def test_a_network_in_bfloat16_is_cached(make, blob, tmp_path):
    network = generator().bfloat16()
    fits = [make(generator=network, memory=tmp_path).fit(blob) for _ in range(2)]
    assert np.array_equal(*[fit.score_samples(blob) for fit in fits])

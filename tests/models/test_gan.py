"""A GAN and then an encoder that inverts it: the two stages of training."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from skanogan.models import (
    AnoGAN,
    EncoderTraining,
    FAnoGAN,
    GANParts,
    GANTraining,
    Search,
)
from skanogan.nn import Prior, Scaling, as_discriminator, build, mlp_encoder

# G(z) = z W, E(x) = x V, f(x) = leaky(x A + a); x is scaled by (x - 2) / 3.
W = np.array([[1.0, -2.0, 0.5], [0.3, 0.7, -1.0]])
V = np.array([[0.25, 0.5], [0.0, 0.25], [0.5, 0.0]])
A = np.array([[0.5, -1.0], [1.5, 0.2], [-0.7, 0.9]])
a = np.array([0.1, -0.4])
SHIFT, SCALE = 2.0, 3.0
X = np.array([[3.0, -1.0, 4.0], [2.0, 2.0, 2.0], [0.5, 7.0, -3.0], [9.0, 1.0, 0.0]])


def features_by_hand(scaled):
    hidden = scaled @ A + a
    return np.where(hidden > 0, hidden, 0.2 * hidden)


def izi_f_by_hand(x, weight, v=V):
    scaled = (x - SHIFT) / SCALE
    drawn = scaled @ v @ W
    difference = features_by_hand(scaled) - features_by_hand(drawn)
    return ((scaled - drawn) ** 2).mean(1) + weight * (difference**2).mean(1)


def known_networks():
    generator = nn.Linear(2, 3, bias=False)
    discriminator = nn.Sequential(nn.Linear(3, 2), nn.LeakyReLU(0.2), nn.Linear(2, 1))
    encoder = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        generator.weight.copy_(torch.from_numpy(W.T))
        discriminator[0].weight.copy_(torch.from_numpy(A.T))
        discriminator[0].bias.copy_(torch.from_numpy(a))
        encoder.weight.copy_(torch.from_numpy(V.T))
    return generator, discriminator, encoder


def normalised_networks():
    """With running statistics, which a frozen network must not change either."""
    rng = torch.Generator().manual_seed(0)
    return (
        build(lambda: nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), rng),
        build(
            lambda: nn.Sequential(
                nn.Linear(3, 4), nn.BatchNorm1d(4), nn.LeakyReLU(), nn.Linear(4, 1)
            ),
            rng,
        ),
        build(lambda: nn.Linear(3, 2), rng),
    )


def training(networks, after, feature_weight=1.0, ema_decay=0.0):
    """A model in training; AnoGAN, which has no encoder, if `after` is None."""
    generator, discriminator, encoder = networks
    parts = GANParts(
        generator,
        as_discriminator(discriminator),
        Scaling(torch.tensor(SHIFT).double(), torch.tensor(SCALE).double()),
        Prior("normal"),
        2,
        GANTraining(learning_rate=0.01, ema_decay=ema_decay),
    )
    if after is None:
        model = AnoGAN(parts, Search())
    else:
        settings = EncoderTraining(
            after=after, learning_rate=0.02, feature_weight=feature_weight
        )
        model = FAnoGAN(parts, encoder, settings, "f_anogan", 0.05)
    model.start_training(torch.Generator().manual_seed(0))
    return model


def update(model, times=1):
    for _ in range(times):
        losses = model.train_step(torch.from_numpy(X))
    return losses


def state(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(first, second):
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


# What the generator and the discriminator learn ---------------------------------


@pytest.mark.parametrize("ema_decay", [0.0, 0.6])
def test_updates_are_those_of_algorithm_1_in_plain_torch(ema_decay):
    networks = known_networks()
    generator, discriminator, _ = copy.deepcopy(networks)
    model = training(networks, after=None, ema_decay=ema_decay)
    rng = torch.Generator().manual_seed(0)  # the stream that the model draws from
    average = state(generator)
    adam = {"lr": 0.01, "betas": (0.5, 0.999)}
    of_generator = torch.optim.Adam(generator.parameters(), **adam)
    of_discriminator = torch.optim.Adam(discriminator.parameters(), **adam)
    real = torch.from_numpy((X - SHIFT) / SCALE).float()
    softplus = nn.functional.softplus
    for n_updates in range(1, 6):
        drawn = generator(torch.randn(4, 2, generator=rng)).detach()
        loss = softplus(-discriminator(real)).mean()
        loss = loss + softplus(discriminator(drawn)).mean()
        of_discriminator.zero_grad()
        loss.backward()
        of_discriminator.step()
        loss = softplus(-discriminator(generator(torch.randn(4, 2, generator=rng))))
        of_generator.zero_grad()
        loss.mean().backward()
        of_generator.step()
        update(model)
        keep = min(ema_decay, n_updates / (n_updates + 9))
        for name, value in generator.state_dict().items():
            average[name] = keep * average[name] + (1 - keep) * value
    assert_close(state(model.generator), state(generator))
    trained = state(model.discriminator)
    assert_close(list(trained.values()), list(discriminator.state_dict().values()))
    model.finish_training()
    assert_close(state(model.generator), average)


# What the encoder learns ------------------------------------------------------


@pytest.mark.parametrize("weight", [0.0, 0.7, 2.0])
def test_the_loss_of_the_encoder_is_izi_f_computed_by_hand(weight):
    losses = update(training(known_networks(), after=0, feature_weight=weight))
    expected = izi_f_by_hand(X, weight).mean()
    assert losses["encoder_loss"].item() == pytest.approx(expected, rel=1e-5)


def test_one_row_by_hand_with_every_number_written_out():
    # x scaled = (1, -2, 1.5); E(x) = (1, 0); G(E(x)) = (1, -2, .5)
    # pixels: (0 + 0 + 1) / 3; f(x) = (-.69, -.09), f(G(E(x))) = (-.55, -.27)
    # features: (.14^2 + .18^2) / 2 = .026; L = 1 / 3 + 2 * .026
    model = training(known_networks(), after=0, feature_weight=2.0)
    losses = model.train_step(torch.tensor([[5.0, -4.0, 6.5]]))
    assert losses["encoder_loss"].item() == pytest.approx(1 / 3 + 0.052, rel=1e-5)


def test_the_validation_error_is_izi_f_of_each_row_with_the_current_weights():
    model = training(known_networks(), after=0, feature_weight=0.7)
    update(model, times=3)
    v = model.encoder.weight.detach().numpy().T
    assert not np.allclose(v, V)
    found = model.validation_error(torch.from_numpy(X)).detach()
    np.testing.assert_allclose(found, izi_f_by_hand(X, 0.7, v), rtol=1e-5)


def test_there_is_no_validation_error_before_the_encoder_trains():
    model = training(known_networks(), after=2)
    for _ in range(2):
        assert model.validation_error(torch.from_numpy(X)) is None
        update(model)
    assert model.validation_error(torch.from_numpy(X)) is None
    update(model)
    assert model.validation_error(torch.from_numpy(X)).shape == (len(X),)


def test_a_gan_without_an_encoder_never_has_a_validation_error():
    model = training(known_networks(), after=None)
    update(model, times=3)
    assert model.validation_error(torch.from_numpy(X)) is None


def test_updates_of_the_encoder_lower_its_loss():
    model = training(known_networks(), after=0)
    losses = [update(model)["encoder_loss"].item() for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]


def test_the_first_update_of_the_encoder_moves_a_weight_by_its_learning_rate():
    model = training(known_networks(), after=0)
    before = model.encoder.weight.detach().clone()
    update(model)
    moved = (model.encoder.weight.detach() - before).abs()
    assert moved.max().item() == pytest.approx(0.02, rel=1e-3)


# The boundary between the stages ----------------------------------------------


def test_before_the_boundary_only_generator_and_discriminator_move():
    model = training(normalised_networks(), after=2)
    for _ in range(2):
        before = state(model.generator), state(model.discriminator)
        encoder = state(model.encoder)
        losses = update(model)
        assert not same(before[0], state(model.generator))
        assert not same(before[1], state(model.discriminator))
        assert same(encoder, state(model.encoder))
        assert "encoder_loss" not in losses


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_after_the_boundary_only_the_encoder_moves(ema_decay):
    model = training(normalised_networks(), after=2, ema_decay=ema_decay)
    update(model, times=2)
    frozen = state(model._average.network), state(model.discriminator)
    for _ in range(3):
        encoder = state(model.encoder)
        losses = update(model)
        assert same(frozen[0], state(model.generator))
        assert same(frozen[1], state(model.discriminator))
        assert not same(encoder, state(model.encoder))
        assert set(losses) == {"encoder_loss"}


def test_frozen_networks_get_no_gradients():
    model = training(normalised_networks(), after=1)
    update(model, times=2)
    frozen = [*model.generator.parameters(), *model.discriminator.parameters()]
    assert not any(weight.requires_grad for weight in frozen)
    assert all(weight.requires_grad for weight in model.encoder.parameters())


def test_computing_the_validation_error_changes_no_weight_and_no_statistic():
    model = training(normalised_networks(), after=1)
    update(model, times=2)
    before = state(model)
    model.validation_error(torch.from_numpy(X))
    assert same(before, state(model))


def test_the_first_stage_trains_the_gan_that_a_model_without_encoder_trains():
    both = training(normalised_networks(), after=3, ema_decay=0.9)
    update(both, times=8)
    alone = training(normalised_networks(), after=None, ema_decay=0.9)
    update(alone, times=3)
    for model in (both, alone):
        model.finish_training()
    assert same(state(both.generator), state(alone.generator))
    assert same(state(both.discriminator), state(alone.discriminator))


@pytest.mark.parametrize("n_updates", [1, 4])
def test_finish_training_deletes_everything_that_only_training_needs(n_updates):
    model = training(normalised_networks(), after=2)
    update(model, times=n_updates)
    model.finish_training()
    assert not [name for name in vars(model) if "optimizer" in name]
    assert "_average" not in dict(model.named_modules())
    assert not any(module.training for module in model.modules())
    assert not any(weight.requires_grad for weight in model.parameters())
    assert all(weight.grad is None for weight in model.parameters())


def test_a_finished_model_can_be_trained_again_from_the_first_stage():
    model = training(normalised_networks(), after=1)
    update(model, times=3)
    model.finish_training()
    before = state(model.generator)
    model.start_training(torch.Generator().manual_seed(1))
    assert "generator_loss" in update(model)
    assert not same(before, state(model.generator))
    assert "encoder_loss" in update(model)


# Scoring --------------------------------------------------------------------


def finished(networks):
    model = training(networks, after=0)
    model.finish_training()
    return model


@pytest.mark.parametrize("bounded", [True, False])
def test_latents_lie_in_the_range_of_the_encoders_activation(bounded):
    rng = torch.Generator().manual_seed(0)
    generator, discriminator, _ = known_networks()
    encoder = build(lambda: mlp_encoder((3,), 2, (8,), "none", bounded), rng)
    model = finished((generator, discriminator, encoder))
    latents = model.find_latents(torch.from_numpy(100 * X))
    assert latents.shape == (len(X), 2)
    assert bool((latents.abs() <= 1).all()) is bounded


def test_reconstructions_are_drawn_from_the_encoders_latents_in_units_of_x():
    model = finished(known_networks())
    scaled = (X - SHIFT) / SCALE
    found = model.reconstruct(torch.from_numpy(X))
    np.testing.assert_allclose(found, scaled @ V @ W * SCALE + SHIFT, rtol=1e-5)
    found = model.residual_map(torch.from_numpy(X))
    np.testing.assert_allclose(found, np.abs(scaled - scaled @ V @ W), atol=1e-5)


def test_embeddings_are_the_features_of_the_scaled_rows():
    found = finished(known_networks()).embed(torch.from_numpy(X))
    np.testing.assert_allclose(found, features_by_hand((X - SHIFT) / SCALE), rtol=1e-5)


def test_samples_are_drawn_from_the_prior_in_units_of_x():
    # More than one chunk of rows.
    found = finished(known_networks()).sample(300, torch.Generator().manual_seed(3))
    z = torch.randn(300, 2, generator=torch.Generator().manual_seed(3)).numpy()
    np.testing.assert_allclose(found, z @ W * SCALE + SHIFT, rtol=1e-4, atol=1e-4)

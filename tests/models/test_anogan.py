"""AnoGAN against values computed by hand, in numpy, with known weights."""

import numpy as np
import pytest
import torch
from torch import nn

from skanogan.models import AnoGAN, GANParts, GANTraining, Search
from skanogan.models._anogan import _absolute_sum
from skanogan.nn import Prior, Scaling, as_discriminator

# G(z) = z W, f(x) = leaky(x A + a), logit = f(x) b + c; x is scaled by (x - 2) / 3.
W = np.array([[1.0, -2.0, 0.5], [0.3, 0.7, -1.0]])
A = np.array([[0.5, -1.0], [1.5, 0.2], [-0.7, 0.9]])
a = np.array([0.1, -0.4])
b = np.array([[2.0], [-0.5]])
c = np.array([0.3])
SHIFT, SCALE = 2.0, 3.0
X = np.array([[3.0, -1.0, 4.0], [2.0, 2.0, 2.0], [0.5, 7.0, -3.0], [9.0, 1.0, 0.0]])
REFERENCE = np.random.RandomState(0).normal(2, 3, size=(12, 3))
Z = np.array([[0.8, -0.6]])


def features_by_hand(scaled):
    hidden = scaled @ A + a
    return np.where(hidden > 0, hidden, 0.2 * hidden)


def logits_by_hand(scaled):
    return (features_by_hand(scaled) @ b + c)[:, 0]


def residual_by_hand(x, z):
    return np.abs((x - SHIFT) / SCALE - z @ W).sum(1)


def matching_by_hand(x, z):
    drawn = features_by_hand(z @ W)
    return np.abs(features_by_hand((x - SHIFT) / SCALE) - drawn).sum(1)


def make_model(ema_decay=0.0, learning_rate=0.01, gradient_penalty=0.0, **search):
    generator = nn.Linear(2, 3, bias=False)
    discriminator = nn.Sequential(nn.Linear(3, 2), nn.LeakyReLU(0.2), nn.Linear(2, 1))
    with torch.no_grad():
        generator.weight.copy_(torch.from_numpy(W.T))
        discriminator[0].weight.copy_(torch.from_numpy(A.T))
        discriminator[0].bias.copy_(torch.from_numpy(a))
        discriminator[2].weight.copy_(torch.from_numpy(b.T))
        discriminator[2].bias.copy_(torch.from_numpy(c))
    settings = {"score": "anogan", "n_candidates": 1, "shrinkage": 0.05}
    parts = GANParts(
        generator,
        as_discriminator(discriminator),
        Scaling(torch.tensor(SHIFT).double(), torch.tensor(SCALE).double()),
        Prior("normal"),
        2,
        GANTraining(learning_rate, gradient_penalty, ema_decay),
    )
    return AnoGAN(parts, Search(**{**settings, **search}))


def ready(z=None, **parameters):
    """A frozen model in float64, with `z` in place of the latent drawn at fit."""
    model = make_model(**parameters)
    model.eval().requires_grad_(False)
    # Making the model rounded weights such as 0.3 to float32. Set them again.
    model.double()
    for network, values in (
        (model.generator.weight, W.T),
        (model.discriminator.network[0].weight, A.T),
        (model.discriminator.network[0].bias, a),
        (model.discriminator.network[2].weight, b.T),
        (model.discriminator.network[2].bias, c),
    ):
        network.copy_(torch.from_numpy(values))
    model.prepare_scoring(torch.from_numpy(REFERENCE), torch.Generator().manual_seed(0))
    if z is not None:
        model.latents.copy_(torch.from_numpy(z))
    return model


def score(model, x=X):
    with torch.no_grad():
        return model.score(torch.from_numpy(x)).numpy()


# The published score ----------------------------------------------------------


@pytest.mark.parametrize("weight", [0.0, 0.1, 0.5, 1.0])
def test_published_score_at_a_fixed_latent_is_equation_4_by_hand(weight):
    # Regression: lambda swapped or missing, and means where the paper sums.
    found = score(ready(Z, discrimination_weight=weight))
    expected = (1 - weight) * residual_by_hand(X, Z) + weight * matching_by_hand(X, Z)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_one_row_by_hand_with_every_number_written_out():
    # z = (1, 0): G(z) = (1, -2, .5); x scaled = (1, -2, 1.5)
    # R = 1; f(G(z)) = leaky(.5 - 3 - .35 + .1, -1 - .4 + .45 - .4) = (-.55, -.27)
    # f(x) = leaky(.5 - 3 - 1.05 + .1, -1 - .4 + 1.35 - .4) = (-.69, -.09)
    # F = .14 + .18 = .32; A = .9 * 1 + .1 * .32 = .932
    found = score(ready(np.array([[1.0, 0.0]])), np.array([[5.0, -4.0, 6.5]]))
    assert found[0] == pytest.approx(0.932, rel=1e-12)


def test_residual_and_discrimination_are_the_two_sums_by_hand():
    for name, by_hand in (
        ("residual", residual_by_hand),
        ("discrimination", matching_by_hand),
    ):
        found = score(ready(Z, score=name))
        np.testing.assert_allclose(found, by_hand(X, Z), rtol=1e-12)


def test_residuals_of_images_are_summed_over_all_pixels_and_channels():
    # Regression: means in place of the paper's sums.
    differences = torch.tensor(
        [[[[1.0, -2.0], [0.0, 3.0]]], [[[1.0, 1.0], [1.0, 1.0]]]]
    )
    assert _absolute_sum(differences).tolist() == [6.0, 4.0]


def test_gan_r_has_the_cross_entropy_of_the_drawn_row_in_place_of_features():
    found = score(ready(Z, score="gan_r", discrimination_weight=0.3))
    probability = 1 / (1 + np.exp(-logits_by_hand(Z @ W)))
    expected = 0.7 * residual_by_hand(X, Z) - 0.3 * np.log(probability)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_p_d_is_minus_the_logit_of_the_row_itself():
    found = score(ready(Z, score="p_d"))
    np.testing.assert_allclose(found, -logits_by_hand((X - SHIFT) / SCALE), rtol=1e-12)


def test_features_are_the_outputs_of_the_layer_before_the_logit_by_hand():
    # Regression: PyOD's AnoGAN compares the output of a wrong layer.
    found = ready(Z).embed(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(found, features_by_hand((X - SHIFT) / SCALE), rtol=1e-12)


# The whitened score -----------------------------------------------------------


def inverse_moment(differences, shrinkage=0.05):
    moment = differences.T @ differences / len(differences)
    added = shrinkage * np.trace(moment) / len(moment)
    return np.linalg.inv(moment + added * np.eye(len(moment)))


def squared_lengths(inverse, differences):
    return np.einsum("...i,ij,...j->...", differences, inverse, differences)


def test_whitened_score_of_one_candidate_is_the_mahalanobis_length_by_hand():
    model = ready(score="whitened")
    drawn = features_by_hand(model.latents.numpy() @ W)
    differences = features_by_hand((REFERENCE - SHIFT) / SCALE) - drawn
    inverse = inverse_moment(differences)
    expected = squared_lengths(inverse, features_by_hand((X - SHIFT) / SCALE) - drawn)
    np.testing.assert_allclose(score(model), expected, rtol=1e-8)


def test_whitened_score_is_the_least_mahalanobis_length_to_the_bank_by_hand():
    model = ready(score="whitened", n_candidates=16)
    bank = features_by_hand(model.latents.numpy() @ W)
    reference = features_by_hand((REFERENCE - SHIFT) / SCALE)
    first = inverse_moment(reference - reference.mean(0))
    at = squared_lengths(first, reference[:, None] - bank).argmin(1)
    inverse = inverse_moment(reference - bank[at])
    rows = features_by_hand((X - SHIFT) / SCALE)
    distances = squared_lengths(inverse, rows[:, None] - bank)
    np.testing.assert_allclose(score(model), distances.min(1), rtol=1e-8)
    found = model.find_latents(torch.from_numpy(X)).numpy()
    assert np.array_equal(found, model.latents.numpy()[distances.argmin(1)])


@pytest.mark.parametrize("step", [{}, {"n_steps": 1, "step_size": 1e-200}])
def test_the_distance_to_the_bank_is_the_length_at_the_latents_found(step):
    # A step, however small, makes the model draw the candidate of each row again.
    model = ready(score="whitened", n_candidates=16, **step)
    rows = features_by_hand((X - SHIFT) / SCALE)
    found = model.find_latents(torch.from_numpy(X)).numpy()
    differences = torch.from_numpy(rows - features_by_hand(found @ W))
    expected = model.metric.squared_length(differences)
    np.testing.assert_allclose(score(model), expected, rtol=1e-8)


def test_scores_of_the_reference_rows_average_to_the_number_of_features():
    # The trace of M^-1 M is 2, the number of features, less the share of shrinkage.
    model = ready(score="whitened", shrinkage=1e-9)
    assert score(model, REFERENCE).mean() == pytest.approx(2, rel=1e-6)


# The search -------------------------------------------------------------------


@pytest.mark.parametrize("n_candidates", [1, 16])
@pytest.mark.parametrize("name", ["anogan", "whitened", "gan_r"])
def test_search_steps_lower_the_loss_of_every_row(name, n_candidates):
    # Regression: no search at test time in PyOD's AnoGAN.
    search = {"score": name, "n_candidates": n_candidates}
    path = [score(ready(n_steps=n, **search)) for n in (0, 5, 40)]
    # The last step is kept, not the best, so a row that starts at its minimum may
    # jitter by a step: less than this.
    assert (path[2] < path[0] + 0.05).all()
    assert path[2].mean() < path[1].mean() < path[0].mean()


def test_the_score_is_that_of_the_last_step_and_not_of_the_best():
    x = Z @ W * SCALE + SHIFT
    # At its own latent a row scores 0, and one step of size 1 leads away from there.
    near = Z + 0.01
    assert score(ready(near), x)[0] < 0.1
    assert score(ready(near, n_steps=1, step_size=1.0), x)[0] > 1


def test_the_first_search_step_moves_each_coordinate_by_the_step_size():
    model = ready(Z, n_steps=1, step_size=0.05)
    moved = model.find_latents(torch.from_numpy(X)).numpy() - Z
    np.testing.assert_allclose(np.abs(moved), 0.05, rtol=1e-6)
    # The gradient of (1 - lambda) sum |x - zW| dominates here.
    sign = np.sign(np.sign(Z @ W - (X - SHIFT) / SCALE) @ W.T)
    assert np.array_equal(np.sign(moved), -sign)


def test_one_candidate_is_drawn_once_and_is_the_start_of_all_rows():
    model = ready()
    z = model.find_latents(torch.from_numpy(X))
    assert torch.equal(z, z[:1].expand(len(X), -1))
    assert torch.equal(z, model.find_latents(torch.from_numpy(X)))


def test_reconstruction_and_residual_map_are_computed_at_the_latent_found():
    model = ready(Z)
    x = torch.from_numpy(X)
    drawn = Z @ W * SCALE + SHIFT
    np.testing.assert_allclose(model.reconstruct(x)[0], drawn[0], rtol=1e-12)
    np.testing.assert_allclose(
        model.residual_map(x), np.abs(X - drawn) / SCALE, rtol=1e-12
    )


def test_the_search_finds_rows_that_the_generator_draws():
    z = np.random.RandomState(1).normal(size=(6, 2))
    rows = z @ W * SCALE + SHIFT
    model = ready(score="residual", n_steps=300, step_size=0.02)
    assert (score(model, rows) < 0.2).all()
    assert (score(model, rows + 9 * np.array([1, 1, 1])) > 1).all()


# Training ---------------------------------------------------------------------


def training(frozen=None, **parameters):
    """A model in training; the optimiser of the frozen network does nothing."""
    model = make_model(**parameters)
    model.start_training(torch.Generator().manual_seed(0))
    if frozen is not None:
        getattr(model, f"_{frozen}_optimizer").step = lambda: None
    return model


def copies(network):
    return [weight.detach().clone() for weight in network.parameters()]


def same(first, second):
    return all(map(torch.equal, first, second))


def test_a_discriminator_step_raises_real_logits_and_lowers_drawn_ones():
    # Regression: labels of real and drawn rows mixed up.
    model = training(frozen="generator")
    before = copies(model.generator)
    real = torch.from_numpy(X)
    scaled = model._scaled(real)
    z = torch.randn(500, 2, generator=torch.Generator().manual_seed(1))
    drawn = model.generator(z).detach()
    logits = [model.discriminator(rows).mean().item() for rows in (scaled, drawn)]
    for _ in range(10):
        model.train_step(real)
    after = [model.discriminator(rows).mean().item() for rows in (scaled, drawn)]
    assert after[0] - after[1] > logits[0] - logits[1]
    assert after[1] < logits[1]
    assert same(before, copies(model.generator))


def test_a_generator_step_raises_drawn_logits_and_moves_no_discriminator_weight():
    model = training(frozen="discriminator")
    before = copies(model.discriminator)
    z = torch.randn(500, 2, generator=torch.Generator().manual_seed(1))

    def log_probability():
        logits = model.discriminator(model.generator(z))
        return nn.functional.logsigmoid(logits).mean().item()

    at_first = log_probability()
    for _ in range(3):
        model.train_step(torch.from_numpy(X).repeat(100, 1))
    assert log_probability() > at_first
    assert same(before, copies(model.discriminator))
    assert all(weight.requires_grad for weight in model.discriminator.parameters())


def test_one_training_step_moves_both_networks_once():
    model = training()
    before = copies(model)
    losses = model.train_step(torch.from_numpy(X))
    moved = [
        (x - y).abs().max().item() for x, y in zip(before, copies(model), strict=False)
    ]
    # The first step of Adam is the learning rate for every weight with a gradient.
    assert max(moved) == pytest.approx(0.01, rel=1e-3)
    assert set(losses) == {
        "discriminator_loss",
        "generator_loss",
        "real_logit",
        "drawn_logit",
    }
    assert not any(loss.requires_grad for loss in losses.values())


def test_a_step_returns_the_losses_at_the_weights_before_it():
    model = training()
    losses = model.train_step(torch.from_numpy(X))
    logits = logits_by_hand((X - SHIFT) / SCALE)
    assert losses["real_logit"].item() == pytest.approx(logits.mean(), rel=1e-5)


def test_the_gradient_penalty_flattens_the_discriminator():
    steepness = []
    for weight in (0.0, 100.0):
        model = training(frozen="generator", gradient_penalty=weight)
        for _ in range(30):
            model.train_step(torch.from_numpy(X))
        scaled = model._scaled(torch.from_numpy(X)).requires_grad_(True)
        (slope,) = torch.autograd.grad(model.discriminator(scaled).sum(), scaled)
        steepness.append(slope.norm().item())
    assert steepness[1] < steepness[0]


def test_the_generator_that_scores_is_the_moving_average_computed_by_hand():
    model = training(ema_decay=0.3)
    average = model.generator.weight.detach().clone()
    for t in range(1, 8):
        model.train_step(torch.from_numpy(X))
        keep = min(0.3, t / (t + 9))
        average = keep * average + (1 - keep) * model.generator.weight.detach()
    model.finish_training()
    # float32, seven roundings
    torch.testing.assert_close(model.generator.weight, average, rtol=1e-5, atol=1e-6)


def test_with_a_decay_of_0_the_last_generator_scores():
    model = training(ema_decay=0.0)
    for _ in range(5):
        model.train_step(torch.from_numpy(X))
    last = model.generator.weight.detach().clone()
    model.finish_training()
    assert torch.equal(model.generator.weight, last)


def test_running_statistics_are_averaged_with_the_weights():
    model = make_model(ema_decay=0.9)
    model.generator = nn.Sequential(model.generator, nn.BatchNorm1d(3, affine=False))
    model.start_training(torch.Generator().manual_seed(0))
    for _ in range(20):
        model.train_step(torch.from_numpy(X))
    last = model.generator[1].running_mean.clone()
    model.finish_training()
    assert torch.isfinite(model.generator[1].running_mean).all()
    assert not torch.equal(model.generator[1].running_mean, last)


def test_finish_training_freezes_all_networks_and_deletes_the_optimisers():
    # Regression: BatchNorm and dropout in train mode while scoring.
    model = training()
    kept = set(make_model().state_dict())
    model.train_step(torch.from_numpy(X))
    model.finish_training()
    assert not any(module.training for module in model.modules())
    assert not any(weight.requires_grad for weight in model.parameters())
    assert all(weight.grad is None for weight in model.parameters())
    assert set(model.state_dict()) == kept
    assert not [name for name in vars(model) if "optimizer" in name]


def test_every_module_is_in_eval_mode_after_prepare_scoring():
    assert not [name for name, m in ready().named_modules() if m.training]


def test_all_noise_of_training_comes_from_the_generator_given():
    runs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed + 7)
        model = make_model()
        model.start_training(torch.Generator().manual_seed(seed))
        before = torch.get_rng_state()
        model.train_step(torch.from_numpy(X))
        assert torch.equal(torch.get_rng_state(), before)
        model.train_step(torch.from_numpy(X))
        runs.append(copies(model))
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


def test_collapse_is_the_variance_of_generated_rows_over_that_of_real_rows():
    model = ready(n_candidates=4096)
    drawn = model.latents.numpy() @ W
    scaled = (REFERENCE - SHIFT) / SCALE
    ratio = drawn.var(0).sum() / scaled.var(0).sum()
    # With either divisor, n or n - 1
    found = model.collapse(torch.from_numpy(REFERENCE))
    assert found == pytest.approx(ratio, rel=0.05)

"""OCGAN: who sees what and who moves in Algorithm 1, and losses and scores by hand."""

import math
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from skanogan.models import OCGAN, Game
from skanogan.models._ocgan import OCGAN_SCORES
from skanogan.nn import (
    AutoEncoder,
    Encoder,
    Scaling,
    WhitenedMetric,
    build,
    convolutional_decoder,
    convolutional_encoder,
    mlp_decoder,
    mlp_discriminator,
    mlp_encoder,
)
from skanogan.nn._autoencoder import NORMALIZATIONS, strided_discriminator

N, D = 40, 3
ALL = ("autoencoder", "latent_discriminator", "visual_discriminator", "classifier")
CRITICS = ALL[1:]
KINDS = ["table", "images"]

digits = load_digits()
rng = np.random.RandomState(0)
TABLE = torch.from_numpy(
    10 + (rng.normal(size=(N, 2)) @ rng.normal(size=(2, 5))) * [1, 2, 5, 0.1, 1]
)
IMAGES = torch.from_numpy(digits.images[digits.target == 0][:N, None])
ROWS = {"table": TABLE, "images": IMAGES}

GAME = Game(
    reconstruction_weight=10.0,
    mining_start=1,
    discriminator_learning_rate=1e-3,
    ema_decay=0.0,
)


def make_model(
    kind="table", score="reconstruction", normalization="group", without=(), **game
):
    """Each network has a seed of its own, whichever of the others there are."""
    if kind == "table":
        shape, sizes = (5,), (7, 6)
        scaling = Scaling(TABLE.mean(0), TABLE.std(0, correction=0))
        factories = (
            lambda: mlp_encoder(shape, D, sizes, normalization),
            lambda: mlp_decoder(D, shape, sizes, normalization),
            lambda: mlp_discriminator((D,), (8, 4)),
            lambda: mlp_discriminator(shape, sizes),
            lambda: mlp_discriminator(shape, sizes),
        )
    else:
        shape = (8, 8, 1)
        scaling = Scaling.to_unit_box(0.0, 16.0)
        factories = (
            lambda: convolutional_encoder(shape, D, 4, normalization),
            lambda: convolutional_decoder(D, shape, 4, normalization),
            lambda: mlp_discriminator((D,), (8, 4)),
            lambda: strided_discriminator(shape, 4),
            lambda: strided_discriminator(shape, 4),
        )
    encoder, decoder, *critics = (
        build(factory, torch.Generator().manual_seed(seed))
        for seed, factory in enumerate(factories)
    )
    critics = [
        None if name in without else critic
        for name, critic in zip(CRITICS, critics, strict=True)
    ]
    return OCGAN(
        AutoEncoder(encoder, decoder),
        *critics,
        scaling=scaling,
        latent_dim=D,
        game=replace(GAME, **game),
        score=score,
        shrinkage=0.1,
    )


def training(n_updates=0, kind="table", seed=0, device="cpu", **parameters):
    """A model in training, after some updates on all rows of its kind."""
    model = make_model(kind, **parameters).to(device)
    model.start_training(torch.Generator(device).manual_seed(seed))
    for _ in range(n_updates):
        model.train_step(ROWS[kind].float().to(device))
    return model


def ready(n_updates=3, kind="table", **parameters):
    """A model that was trained, in float64, and scores."""
    model = training(n_updates, kind, **parameters)
    model.finish_training()
    model.double()
    model.prepare_scoring(ROWS[kind], torch.Generator().manual_seed(0))
    return model


def score(model, x):
    with torch.no_grad():
        return model.score(x)


def scaled(kind):
    if kind == "table":
        return (TABLE - TABLE.mean(0)) / TABLE.std(0, correction=0)
    return IMAGES / 8 - 1


def box(n, seed=1):
    points = torch.rand(n, D, generator=torch.Generator().manual_seed(seed))
    return 2 * points - 1


def freeze(model, *names):
    """Make the optimisers of these networks do nothing from now on."""
    for name in names:
        model._optimizers[name].step = lambda: None


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(first, second):
    assert set(first) == set(second)
    return all(torch.equal(first[name], second[name]) for name in first)


Event = namedtuple("Event", ["name", "seen", "made"])


def watched(model):
    """Inputs and outputs of the networks from now on, and steps of their optimisers."""
    events = []

    def watch(name, network):
        def note(module, args, made):
            events.append(Event(name, args[0].detach().clone(), made.detach().clone()))

        network.register_forward_hook(note)

    watch("encoder", model.autoencoder.encoder)
    watch("decoder", model.autoencoder.decoder)
    for name in CRITICS:
        if getattr(model, name) is not None:
            watch(name, getattr(model, name))
    for name, optimizer in model._optimizers.items():
        optimizer.register_step_post_hook(
            lambda *_, name=name: events.append(Event(f"{name} step", None, None))
        )
    return events


def seen(events, name):
    return [event.seen for event in events if event.name == name]


def made(events, name):
    return [event.made for event in events if event.name == name]


def points_drawn(events):
    """The random points that are decoded beside the codes."""
    (codes,) = made(events, "encoder")
    others = [z for z in seen(events, "decoder") if not torch.equal(z, codes)]
    return others[0]


def as_rows(*tensors):
    """Rows in sorted order, since a critic may see them in one pass or two."""
    return sorted(row for rows in tensors for row in rows.flatten(1).tolist())


def split(events, name):
    """The events before and after the step of a network's optimiser."""
    at = [event.name for event in events].index(f"{name} step")
    return events[:at], events[at:]


# Mining -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_mining_changes_no_weight_and_no_running_statistic(kind, normalization):
    # Regression: ports step C's optimiser, or normalise by the batch, while mining.
    model = training(3, kind, normalization=normalization)
    before = state(model)
    model.mine(box(50))
    assert same(state(model), before)


def test_mining_leaves_no_gradient_and_every_network_trainable():
    model = training(3)
    model.zero_grad(set_to_none=True)
    model.mine(box(50))
    for name in ALL:
        weights = list(getattr(model, name).parameters())
        assert all(weight.grad is None for weight in weights), name
        assert all(weight.requires_grad for weight in weights), name


def test_mining_does_not_unfreeze_frozen_networks():
    model = ready()
    mined = model.mine(box(50).double())
    assert not mined.requires_grad
    assert not any(weight.requires_grad for weight in model.parameters())
    assert not any(module.training for module in model.modules())


def test_networks_are_unchanged_after_mining_fails():
    model = training(3)
    before = [module.training for module in model.modules()]
    with pytest.raises(RuntimeError):
        model.mine(torch.zeros(5, D + 1))
    assert [module.training for module in model.modules()] == before
    assert all(
        weight.requires_grad
        for name in ALL
        for weight in getattr(model, name).parameters()
    )


@pytest.mark.parametrize("classifier_trains", [True, False])
@pytest.mark.parametrize("decoder_trains", [True, False])
def test_mining_restores_the_mode_of_every_network(classifier_trains, decoder_trains):
    model = training(normalization="batch")
    model.classifier.train(classifier_trains)
    model.autoencoder.decoder.train(decoder_trains)
    before = [module.training for module in model.modules()]
    model.mine(box(50))
    assert [module.training for module in model.modules()] == before


@pytest.mark.parametrize("grad", [True, False])
def test_mined_points_are_new_and_detached(grad):
    model = training(3)
    points = box(50)
    before = points.clone()
    with torch.set_grad_enabled(grad):
        mined = model.mine(points)
    assert torch.equal(points, before)
    assert not points.requires_grad
    assert not mined.requires_grad
    assert mined.shape == points.shape
    assert not torch.equal(mined, points)


def test_mined_points_stay_inside_the_box():
    mined = training(3, n_mining_steps=5, mining_step_size=1.0).mine(box(200))
    assert mined.abs().max() == 1  # some arrive at its walls


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_every_step_of_mining_lowers_the_in_class_logit(kind, normalization):
    # Regression: the literal Algorithm 1 raises it, and some ports do not move points.
    model = training(30, kind, normalization=normalization)
    points = box(200)
    logits = [in_class_logits(model, points).mean()]
    game = model.game
    for n in (1, 2, 3, 4, 5):
        model.game = replace(game, n_mining_steps=n)
        logits.append(in_class_logits(model, model.mine(points)).mean())
    assert (np.diff(logits) < 0).all(), logits


def in_class_logits(model, points):
    """C(De(points)), with the running statistics where there are any."""
    model.eval()
    with torch.no_grad():
        logits = model.classifier(model.autoencoder.decoder(points)).numpy()
    model.train()
    return logits


def test_mining_lowers_the_cross_entropy_of_c_against_out_of_class():
    model = training(30)
    points = box(200)
    losses = [
        np.log1p(np.exp(in_class_logits(model, z))).mean()
        for z in (points, model.mine(points))
    ]
    assert losses[1] < losses[0]


def test_a_step_of_mining_has_its_length_and_follows_the_gradient_of_the_logit():
    model = training(3, n_mining_steps=1, mining_step_size=0.05)
    points = 0.9 * box(50)
    leaf = points.clone().requires_grad_(True)
    logits = model.classifier(model.autoencoder.decoder(leaf))
    (uphill,) = torch.autograd.grad(logits.sum(), leaf)
    expected = points - 0.05 * uphill / uphill.norm(dim=1, keepdim=True)
    torch.testing.assert_close(model.mine(points), expected, rtol=1e-4, atol=1e-6)


def test_a_point_is_mined_the_same_alone_and_among_others():
    model = training(3, normalization="batch")
    points = box(20)
    # float32 products over 1 and 20 rows round differently
    torch.testing.assert_close(
        model.mine(points)[:1], model.mine(points[:1]), rtol=1e-4, atol=1e-5
    )


# Inputs of the networks --------------------------------------------------------


def test_networks_take_their_steps_in_the_order_of_algorithm_1(monkeypatch):
    model = training()
    events = watched(model)
    mine = model.mine

    def noted(points):
        events.append(Event("mining step", None, None))
        return mine(points)

    monkeypatch.setattr(model, "mine", noted)
    model.train_step(TABLE)
    assert [e.name for e in events if e.name.endswith(" step")] == [
        "classifier step",
        "latent_discriminator step",
        "visual_discriminator step",
        "mining step",
        "autoencoder step",
    ]


@pytest.fixture
def one_step(monkeypatch):
    """Events of one step whose mined points are all (.5, .5, .5)."""

    def run(**parameters):
        model = training(**parameters)
        events = watched(model)
        monkeypatch.setattr(model, "mine", lambda points: torch.full_like(points, 0.5))
        model.train_step(TABLE)
        return events

    return run


def test_discriminators_learn_from_rows_codes_and_points_that_are_not_mined(one_step):
    # Regression: "feeding weaker samples would hinder training of discriminators".
    events = one_step()
    points, (codes,) = points_drawn(events), made(events, "encoder")
    _, drawn = made(events, "decoder")[:2]
    assert not (points == 0.5).all(1).any()
    for name, shown in (
        ("latent_discriminator", (points, codes)),
        ("visual_discriminator", (scaled("table").float(), drawn)),
    ):
        found = seen(split(events, name)[0], name)
        assert as_rows(*found) == as_rows(*shown), name


def test_the_decoder_learns_from_mined_points_only(one_step):
    learned = split(one_step(), "visual_discriminator")[1]
    (mined,) = seen(learned, "decoder")
    assert (mined == 0.5).all()
    (fakes,) = seen(learned, "visual_discriminator")
    assert torch.equal(fakes, made(learned, "decoder")[0])
    assert seen(learned, "classifier") == []


def test_before_mining_the_decoder_learns_from_the_points_of_the_discriminators(
    one_step,
):
    events = one_step(mining_start=2)
    (fakes,) = seen(split(events, "visual_discriminator")[1], "visual_discriminator")
    assert torch.equal(fakes, made(events, "decoder")[1])
    assert not any((points == 0.5).all() for points in seen(events, "decoder"))


def test_the_classifier_is_shown_reconstructions_and_points_that_are_not_mined(
    one_step,
):
    events = one_step()
    found = seen(split(events, "classifier")[0], "classifier")
    assert as_rows(*found) == as_rows(*made(events, "decoder")[:2])


# Noise ------------------------------------------------------------------------


def test_noise_is_drawn_anew_at_each_step():
    # Regression: the official code draws it once, when images are loaded.
    model = training()
    events = watched(model)
    for _ in range(2):
        model.train_step(TABLE)
    first, second = seen(events, "encoder")
    assert not torch.isclose(first, second).any(1).all()
    assert len(torch.unique(first - scaled("table"))) > 0.9 * first.numel()


@pytest.mark.parametrize("variance", [0.2, 4.0])
def test_noise_has_the_given_variance(variance):
    # Regression: 0.2 taken for the standard deviation in the official code.
    model = training(noise_variance=variance)
    events = watched(model)
    model.train_step(TABLE.repeat(500, 1))
    (noisy,) = seen(events, "encoder")
    noise = noisy - scaled("table").float().repeat(500, 1)
    # 100 000 values: a deviation of 0.4 % of the variance, and 0.3 % of the spread
    assert noise.var().item() == pytest.approx(variance, rel=0.03)
    assert abs(noise.mean().item()) < 0.02 * math.sqrt(variance)


def test_a_variance_of_0_adds_no_noise():
    model = training(noise_variance=0.0)
    events = watched(model)
    model.train_step(TABLE)
    torch.testing.assert_close(seen(events, "encoder")[0], scaled("table").float())


@pytest.mark.parametrize("name", OCGAN_SCORES)
def test_scores_have_no_noise(name):
    # Regression: the official code adds noise to test images.
    model = ready(score=name, noise_variance=1e4)
    model.start_training(torch.Generator().manual_seed(0))  # a stream to draw from
    model.eval()
    first = score(model, TABLE)
    assert torch.equal(score(model, TABLE), first)
    assert torch.equal(model.reconstruct(TABLE), model.reconstruct(TABLE))


@pytest.mark.parametrize("kind", KINDS)
def test_the_error_is_computed_against_the_row_without_noise(kind):
    model, before = training(kind=kind, noise_variance=100.0), make_model(kind)
    events = watched(model)
    losses = model.train_step(ROWS[kind])
    (noisy,) = seen(events, "encoder")
    with torch.no_grad():
        rebuilt = before.autoencoder(noisy).double()
    expected = (scaled(kind) - rebuilt).square().mean().item()
    assert losses["reconstruction_error"].item() == pytest.approx(expected, rel=1e-5)
    assert expected < 0.1 * (noisy - rebuilt).square().mean().item()


# Losses -----------------------------------------------------------------------


def against_real(logits):
    """Cross-entropy of logits against 1."""
    return np.log1p(np.exp(-logits)).mean()


def against_drawn(logits):
    """Cross-entropy of logits against 0."""
    return np.log1p(np.exp(logits)).mean()


def step_and_passes(**parameters):
    """Losses of the first step, and the logits and error of the initial networks."""
    model, before = training(**parameters), make_model(**parameters)
    events = watched(model)
    losses = {name: loss.item() for name, loss in model.train_step(TABLE).items()}
    (noisy,) = seen(events, "encoder")
    points = points_drawn(events)
    x = scaled("table").float()
    with torch.no_grad():
        codes = before.autoencoder.encoder(noisy)
        decoder = before.autoencoder.decoder
        rebuilt, drawn = decoder(codes), decoder(points)
        mined = decoder(before.mine(points))
        latent, visual, classifier = (getattr(before, name) for name in CRITICS)
        logits = {
            "codes": latent(codes),
            "points": latent(points),
            "rows": visual(x),
            "drawn": visual(drawn),
            "mined": visual(mined),
            "in class": classifier(rebuilt),
            "out of class": classifier(drawn),
        }
    error = (x - rebuilt).square().mean().item()
    return losses, {name: a.double().numpy() for name, a in logits.items()}, error


@pytest.mark.parametrize("mining_start", [1, 2])
def test_the_loss_of_encoder_and_decoder_is_the_weighted_sum_by_hand(mining_start):
    # Regression: the official code has lambda on the latent term.
    losses, logits, error = step_and_passes(
        mining_start=mining_start,
        reconstruction_weight=7.0,
        latent_weight=0.3,
        visual_weight=2.1,
        discriminator_learning_rate=1e-30,  # critics are updated before the last step
    )
    fakes = logits["mined" if mining_start == 1 else "drawn"]
    expected = 7 * error + 0.3 * against_real(logits["codes"])
    expected += 2.1 * against_real(fakes)
    assert losses["generator_loss"] == pytest.approx(expected, rel=1e-5)
    assert losses["reconstruction_error"] == pytest.approx(error, rel=1e-5)


def test_losses_of_the_discriminators_and_of_c_are_cross_entropies_by_hand():
    losses, logits, _ = step_and_passes()
    latent = against_real(logits["points"]) + against_drawn(logits["codes"])
    visual = against_real(logits["rows"]) + against_drawn(logits["drawn"])
    c = against_real(logits["in class"]) + against_drawn(logits["out of class"])
    assert losses["latent_loss"] == pytest.approx(latent, rel=1e-5)
    assert losses["visual_loss"] == pytest.approx(visual, rel=1e-5)
    assert losses["classifier_loss"] == pytest.approx(c, rel=1e-5)


def test_losses_are_detached_scalars():
    for loss in training().train_step(TABLE).values():
        assert loss.shape == ()
        assert not loss.requires_grad


# Updates --------------------------------------------------------------------


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_critics_are_frozen_while_encoder_and_decoder_learn(normalization):
    model = training(normalization=normalization)
    after_own_step = {}

    def gradients(critic):
        return {name: w.grad.clone() for name, w in critic.named_parameters()}

    for name in CRITICS:

        def note(*_, name=name):
            critic = getattr(model, name)
            after_own_step[name] = state(critic), gradients(critic)

        model._optimizers[name].register_step_post_hook(note)
    for _ in range(3):
        model.train_step(TABLE)
        for name in CRITICS:
            critic = getattr(model, name)
            weights, slopes = after_own_step[name]
            assert same(state(critic), weights), name
            assert same(gradients(critic), slopes), name
            assert all(weight.requires_grad for weight in critic.parameters()), name


def test_no_critic_gives_the_auto_encoder_a_gradient_in_its_own_step():
    model = training()
    gradients = []
    for name in CRITICS:
        model._optimizers[name].register_step_post_hook(
            lambda *_: gradients.extend(w.grad for w in model.autoencoder.parameters())
        )
    model.train_step(TABLE)
    assert gradients
    assert all(gradient is None for gradient in gradients)


def test_the_classifier_does_not_change_the_game_before_mining():
    # C "is not part of the GAN game"; it only chooses points.
    playing = training(5, mining_start=6)
    without = training(5, without=("classifier",))
    for name in ALL[:3]:
        first, second = (state(getattr(m, name)) for m in (playing, without))
        assert same(first, second), name


def test_mining_changes_the_training_of_the_decoder():
    mining, waiting = (training(2, mining_start=n) for n in (1, 3))
    decoders = [state(m.autoencoder.decoder) for m in (mining, waiting)]
    assert not same(*decoders)


def test_one_step_moves_every_weight_by_at_most_the_learning_rate():
    model = training(learning_rate=0.01, discriminator_learning_rate=0.003)
    before = state(model)
    model.train_step(TABLE)
    for name in ALL:
        rate = 0.01 if name == "autoencoder" else 0.003
        largest = max(
            (weight - before[f"{name}.{key}"]).abs().max().item()
            for key, weight in getattr(model, name).named_parameters()
        )
        # The first step of Adam is the learning rate for every weight with a gradient.
        assert largest == pytest.approx(rate, rel=1e-3), name


def means(model, **shown):
    """Mean logit of a network for each of the rows named after it."""
    found = []
    with torch.no_grad():
        for name, inputs in shown.items():
            found.append([getattr(model, name)(x).mean().item() for x in inputs])
    return np.array(found)


@pytest.mark.parametrize("kind", KINDS)
def test_discriminators_raise_the_logits_of_real_rows_and_lower_those_of_others(kind):
    # Regression: labels of real and drawn mixed up, as in the paper's l_visual.
    model = training(kind=kind, discriminator_learning_rate=3e-3)
    freeze(model, "autoencoder")
    x = scaled(kind).float()
    with torch.no_grad():
        # Codes in a corner of the box are easy to tell from points all over it.
        model.autoencoder.encoder.head.bias.fill_(1.0)
        codes = model.autoencoder.encoder(x)
        rebuilt = model.autoencoder.decoder(codes)
        drawn = model.autoencoder.decoder(box(500))
    shown = {
        "latent_discriminator": (box(500), codes),
        "visual_discriminator": (x, drawn),
        "classifier": (rebuilt, drawn),
    }
    before = means(model, **shown)
    for _ in range(60):
        model.train_step(ROWS[kind])
    real, fake = (means(model, **shown) - before).T
    assert (real > fake).all(), (real, fake)
    # The two inputs of C begin alike and both on one side of 0, so only the order of
    # its logits is certain.
    assert (real[:2] > 0).all(), real
    assert (fake[:2] < 0).all(), fake


@pytest.mark.parametrize("kind", KINDS)
def test_the_decoder_learns_to_raise_the_visual_logit_of_random_points(kind):
    weights = {"reconstruction_weight": 0.0, "latent_weight": 0.0}
    model = training(kind=kind, **weights)
    freeze(model, *CRITICS)

    def logit():
        drawn = model.autoencoder.decoder(box(500))
        return model.visual_discriminator(drawn).mean().item()

    at_first = logit()
    for _ in range(5):
        model.train_step(ROWS[kind])
    assert logit() > at_first


def test_the_encoder_learns_to_raise_the_latent_logit_of_codes():
    model = training(reconstruction_weight=0.0, visual_weight=0.0)
    freeze(model, *CRITICS)
    x = scaled("table").float()

    def logit():
        return model.latent_discriminator(model.autoencoder.encoder(x)).mean().item()

    at_first = logit()
    for _ in range(5):
        model.train_step(TABLE)
    assert logit() > at_first


@pytest.mark.parametrize("weight", ["latent_weight", "visual_weight"])
def test_a_game_of_weight_0_does_not_change_the_auto_encoder(weight):
    name = weight.replace("weight", "discriminator")
    # Without mining, since C continues to choose points.
    first = training(3, without=("classifier",), **{weight: 0.0})
    second = training(3, without=("classifier", name))
    assert same(state(first.autoencoder), state(second.autoencoder))


def test_reconstruction_errors_fall():
    model = training()
    errors = [
        model.train_step(TABLE)["reconstruction_error"].item() for _ in range(200)
    ]
    assert np.mean(errors[-10:]) < 0.7 * np.mean(errors[:10])


def test_running_statistics_of_the_decoder_come_from_reconstructions_only():
    parameters = {"normalization": "batch", "kind": "images"}
    model, by_hand = training(**parameters), make_model(**parameters).train()
    events = watched(model)
    model.train_step(IMAGES)
    with torch.no_grad():
        by_hand.autoencoder(seen(events, "encoder")[0])
    found = dict(model.autoencoder.named_buffers())
    for name, expected in by_hand.autoencoder.named_buffers():
        if "running" in name:
            torch.testing.assert_close(found[name], expected)


# Codes, points and logits -----------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_codes_of_rows_far_away_lie_inside_the_box_as_well(kind):
    # Regression: the official encoder ends in a LeakyReLU.
    model = ready(kind=kind)
    codes = model.embed(ROWS[kind])
    assert codes.shape == (N, D)
    assert codes.abs().max() < 1
    assert model.embed(1e5 * ROWS[kind]).abs().max() <= 1


@pytest.mark.parametrize("name", CRITICS)
def test_logits_are_not_bounded_by_a_sigmoid(name):
    # Regression: the official latent discriminator has a sigmoid before the sigmoid.
    network = getattr(make_model(), name)
    width = D if name == "latent_discriminator" else 5
    with torch.no_grad():
        x = 1e4 * torch.randn(200, width, generator=torch.Generator().manual_seed(0))
        logits = network(torch.cat([x, -x]))
    assert logits.min() < -1
    assert logits.max() > 1


def test_random_points_fill_the_box_evenly():
    # Regression: the official code draws tanh of uniform, within (-.76, .76).
    model = training()
    events = watched(model)
    model.train_step(TABLE.repeat(250, 1))
    points = points_drawn(events)
    assert points.abs().max() <= 1
    # 10 000 of each of 3 coordinates, a tenth of them in each tenth of the side
    for column in points.T:
        shares = torch.histc(column, 10, -1, 1) / len(points)
        assert (shares - 0.1).abs().max() < 0.02


# Switches ---------------------------------------------------------------------

LOSSES = {
    "classifier_loss",
    "latent_loss",
    "visual_loss",
    "mining",
    "generator_loss",
    "reconstruction_error",
}


@pytest.mark.parametrize(
    ("without", "missing"),
    [
        ((), set()),
        (("latent_discriminator",), {"latent_loss"}),
        (("visual_discriminator",), {"visual_loss", "mining"}),
        (("classifier",), {"classifier_loss", "mining"}),
        (CRITICS, LOSSES - {"generator_loss", "reconstruction_error"}),
    ],
)
def test_a_part_that_is_left_out_has_no_network_and_no_loss(without, missing):
    model = training(without=without)
    assert set(model.train_step(TABLE)) == LOSSES - missing
    parts = {
        name.split(".")[0] for name, _ in make_model(without=without).named_parameters()
    }
    assert parts == set(ALL) - set(without)


@pytest.mark.parametrize("name", CRITICS)
def test_leaving_a_part_out_changes_the_training(name):
    full, less = training(3), training(3, without=(name,))
    assert not same(state(full.autoencoder), state(less.autoencoder))


def test_without_critics_the_auto_encoder_learns_from_the_error_only():
    model, by_hand = training(without=CRITICS), make_model(without=CRITICS)
    events = watched(model)
    model.train_step(TABLE)
    rebuilt = by_hand.autoencoder(seen(events, "encoder")[0])
    (10 * (scaled("table").float() - rebuilt).square().mean()).backward()
    for found, expected in zip(
        model.autoencoder.parameters(), by_hand.autoencoder.parameters(), strict=True
    ):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-4, atol=1e-6)


# When mining begins -----------------------------------------------------------


def flags(model, n):
    return [model.train_step(TABLE)["mining"].item() for _ in range(n)]


@pytest.mark.parametrize("start", [1, 2, 5])
def test_mining_begins_at_the_given_update(start):
    found = flags(training(mining_start=start), 6)
    assert found == [float(update >= start) for update in range(1, 7)]


class Atanh(nn.Module):
    def forward(self, x):
        return torch.atanh(x.clamp(-0.999999, 0.999999))


class Judge(nn.Module):
    """A critic with a large logit for rows and one constant logit for drawn rows."""

    def __init__(self, probability):
        super().__init__()
        logit = math.log(probability / (1 - probability))
        self.logit = nn.Parameter(torch.tensor(logit))

    def forward(self, x):
        is_row = (x[:, None] == scaled("table").float()).all(2).any(1)
        return torch.where(is_row, 9.0, self.logit)


def steady(kept=1.0, probability=0.5):
    """A model that does not learn: it reconstructs `kept` times a row, and its visual
    discriminator gives drawn rows this probability."""
    model = make_model(
        mining_start="auto",
        noise_variance=0.0,
        learning_rate=1e-30,
        discriminator_learning_rate=1e-30,
    )
    encoder, last = Encoder([], nn.Linear(5, 5)), nn.Linear(5, 5)
    with torch.no_grad():
        for layer, factor in ((encoder.head, 1.0), (last, kept)):
            layer.weight.copy_(factor * torch.eye(5))
            layer.bias.zero_()
    model.autoencoder = AutoEncoder(encoder, nn.Sequential(Atanh(), last))
    model.visual_discriminator = Judge(probability)
    model.classifier = mlp_discriminator((5,), (4,))
    model.latent_discriminator = mlp_discriminator((5,), (4,))
    model.latent_dim = 5
    model.start_training(torch.Generator().manual_seed(0))
    return model


@pytest.mark.parametrize(
    ("kept", "probability", "begins"),
    [
        # Reconstructions leave (1 - kept)^2 of the variance.
        (0.35, 0.3, True),  # 42 %
        (0.25, 0.3, False),  # 56 %
        (0.35, 0.2, False),
        (0.0, 0.5, False),
        (1.0, 0.01, False),
        (1.0, 0.5, True),
    ],
)
def test_by_default_mining_waits_for_good_reconstructions_and_realistic_drawings(
    kept, probability, begins
):
    found = flags(steady(kept, probability), 40)
    assert found[0] == 0
    assert found[-1] == begins
    assert found == sorted(found)


def test_mining_continues_when_reconstructions_get_worse():
    model = steady()
    assert flags(model, 30)[-1] == 1
    with torch.no_grad():
        model.autoencoder.decoder[1].weight.zero_()
    assert flags(model, 40) == [1.0] * 40


def test_mining_does_not_begin_after_a_single_good_batch():
    model = steady(kept=0.0)
    last = model.autoencoder.decoder[1].weight
    found = []
    for update in range(1, 41):
        with torch.no_grad():
            last.copy_((update % 10 == 0) * torch.eye(5))
        found += flags(model, 1)
    assert not any(found)


# Training as a whole ----------------------------------------------------------


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_one_row_is_enough_for_a_step(kind, normalization):
    model = training(kind=kind, normalization=normalization)
    for _ in range(3):
        losses = model.train_step(ROWS[kind][:1])
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(torch.isfinite(weight).all() for weight in model.parameters())


def test_all_noise_of_training_comes_from_the_given_generator():
    runs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed + 7)
        before = torch.get_rng_state()
        model = training(2, seed=seed)
        assert torch.equal(torch.get_rng_state(), before)
        runs.append(state(model))
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


def test_the_auto_encoder_that_scores_is_the_moving_average_by_hand():
    model = training(ema_decay=0.3)
    average = state(model.autoencoder)
    for t in range(1, 8):
        model.train_step(TABLE)
        keep = min(0.3, t / (t + 9))
        now = state(model.autoencoder)
        average = {k: keep * average[k] + (1 - keep) * now[k] for k in average}
    model.finish_training()
    for name, weight in model.autoencoder.state_dict().items():
        torch.testing.assert_close(weight, average[name], rtol=1e-5, atol=1e-6)


def test_with_a_decay_of_0_the_last_auto_encoder_scores():
    model = training(5, ema_decay=0.0)
    last = state(model.autoencoder)
    model.finish_training()
    assert same(state(model.autoencoder), last)


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_validation_error_is_the_score_of_the_finished_model(
    kind, normalization, ema_decay
):
    x = ROWS[kind][:7]
    model = training(5, kind, normalization=normalization, ema_decay=ema_decay)
    with torch.no_grad():
        errors = model.validation_error(x)
    model.finish_training()
    assert errors.shape == (7,)
    assert torch.equal(errors, score(model, x))


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_computing_the_validation_error_does_not_change_the_training(normalization):
    runs = []
    for measured in (False, True):
        model = training(2, normalization=normalization)
        if measured:
            with torch.no_grad():
                model.validation_error(TABLE)
        for _ in range(2):
            model.train_step(TABLE)
        runs.append(state(model))
        trained = [*model.autoencoder.modules(), *model.classifier.modules()]
        assert all(module.training for module in trained)
    assert same(*runs)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_finish_training_freezes_all_networks_and_deletes_the_optimisers(
    normalization,
):
    # Regression: BatchNorm in train mode while scoring.
    kept = vars(make_model()).keys()
    model = training(2, normalization=normalization)
    model.finish_training()
    assert not any(module.training for module in model.modules())
    assert not any(weight.requires_grad for weight in model.parameters())
    assert all(weight.grad is None for weight in model.parameters())
    assert set(model.state_dict()) == set(
        make_model(normalization=normalization).state_dict()
    )
    assert vars(model).keys() == kept


def test_a_model_trains_mines_and_scores_on_every_device(device):
    model = training(3, "images", device=device)
    x = IMAGES.float().to(device)
    assert model.mine(box(10).to(device)).device.type == device
    model.finish_training()
    model.prepare_scoring(x, torch.Generator().manual_seed(0))
    for name in OCGAN_SCORES:
        model.anomaly_score = name
        found = score(model, x)
        assert found.device.type == device
        assert torch.isfinite(found).all()
    drawn = model.sample(3, torch.Generator().manual_seed(0))
    assert drawn.device.type == device


# Scores -----------------------------------------------------------------------


def network_by_hand(model, x):
    """Code, reconstruction and hidden layers, block after block."""
    encoder = model.autoencoder.encoder
    with torch.no_grad():
        hidden = []
        for block in encoder.blocks:
            hidden.append(block((hidden or [x])[-1]))
        code = torch.tanh(encoder.head(hidden[-1].flatten(1)))
        if x.ndim == 4:
            hidden = hidden[-1:]
        features = torch.cat([values.flatten(1) for values in hidden], dim=1)
        return code, model.autoencoder.decoder(code), features


@pytest.mark.parametrize("kind", KINDS)
def test_reconstruction_score_is_the_mean_squared_error_by_hand(kind):
    model = ready(kind=kind)
    _, rebuilt, _ = network_by_hand(model, scaled(kind))
    expected = ((scaled(kind) - rebuilt) ** 2).numpy().reshape(N, -1).mean(1)
    np.testing.assert_allclose(score(model, ROWS[kind]), expected, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_visual_score_is_minus_the_logit_of_the_row(kind):
    model = ready(kind=kind, score="visual")
    expected = -model.visual_discriminator(scaled(kind))
    np.testing.assert_allclose(score(model, ROWS[kind]), expected, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_latent_score_is_minus_the_logit_of_the_code(kind):
    model = ready(kind=kind, score="latent")
    code, _, _ = network_by_hand(model, scaled(kind))
    expected = -model.latent_discriminator(code)
    np.testing.assert_allclose(score(model, ROWS[kind]), expected, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_classifier_score_is_minus_the_logit_of_the_reconstruction(kind):
    model = ready(kind=kind, score="classifier")
    _, rebuilt, _ = network_by_hand(model, scaled(kind))
    expected = -model.classifier(rebuilt)
    np.testing.assert_allclose(score(model, ROWS[kind]), expected, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shrinkage", [0.1, 1.0])
def test_whitened_score_is_the_length_of_the_difference_in_features(kind, shrinkage):
    model = ready(kind=kind, score="whitened")
    model.shrinkage = shrinkage
    reference, rows = scaled(kind)[:30], scaled(kind)[30:]
    model.prepare_scoring(ROWS[kind][:30], torch.Generator().manual_seed(0))
    differences = []
    for x in (reference, rows):
        _, rebuilt, features = network_by_hand(model, x)
        differences.append(features - network_by_hand(model, rebuilt)[2])
    metric = WhitenedMetric.fit(differences[0], shrinkage)
    expected = metric.squared_length(differences[1])
    np.testing.assert_allclose(score(model, ROWS[kind][30:]), expected, rtol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shrinkage", [0.1, 1.0])
def test_features_score_is_the_length_of_the_difference_from_their_mean(
    kind, shrinkage
):
    model = ready(kind=kind, score="features")
    model.shrinkage = shrinkage
    model.prepare_scoring(ROWS[kind][:30], torch.Generator().manual_seed(0))
    _, _, features = network_by_hand(model, scaled(kind))
    reference, rows = features[:30], features[30:]
    metric = WhitenedMetric.fit(reference - reference.mean(0), shrinkage)
    expected = metric.squared_length(rows - reference.mean(0))
    np.testing.assert_allclose(score(model, ROWS[kind][30:]), expected, rtol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_scoring_changes_no_weight_and_leaves_eval_mode_on(kind, normalization):
    model = ready(kind=kind, normalization=normalization)
    before = state(model)
    for name in OCGAN_SCORES:
        model.anomaly_score = name
        score(model, ROWS[kind])
    for method in (model.reconstruct, model.residual_map, model.embed):
        method(ROWS[kind])
    model.sample(3, torch.Generator().manual_seed(0))
    assert same(state(model), before)
    assert not [name for name, module in model.named_modules() if module.training]


@pytest.mark.parametrize("name", OCGAN_SCORES)
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_a_row_scores_the_same_alone_in_a_part_and_in_another_order(
    name, normalization
):
    model = ready(score=name, normalization=normalization)
    expected = score(model, TABLE)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([score(model, row[None]) for row in TABLE])
    parts = torch.cat([score(model, part) for part in TABLE.split([3, 30, 7])])
    # float64, but matrix products over other numbers of rows round differently
    torch.testing.assert_close(alone, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(parts, expected, rtol=1e-9, atol=1e-9)
    permuted = score(model, TABLE[order])
    torch.testing.assert_close(permuted, expected[order], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_reconstructions_are_in_the_units_of_rows_and_residuals_on_the_models_scale(
    kind,
):
    model, x = ready(kind=kind), ROWS[kind]
    _, rebuilt, _ = network_by_hand(model, scaled(kind))
    in_units = (
        8 * (rebuilt + 1)
        if kind == "images"
        else rebuilt * TABLE.std(0, correction=0) + TABLE.mean(0)
    )
    torch.testing.assert_close(model.reconstruct(x), in_units, rtol=1e-9, atol=1e-9)
    expected = (scaled(kind) - rebuilt).abs()
    torch.testing.assert_close(model.residual_map(x), expected, rtol=1e-9, atol=1e-9)


def test_samples_are_decoded_points_of_the_whole_box(monkeypatch):
    model = ready(kind="images")
    seen = []
    model.autoencoder.decoder.register_forward_hook(
        lambda module, args, made: seen.append((args[0], made))
    )
    drawn = model.sample(2000, torch.Generator().manual_seed(0))
    points, made = (torch.cat(parts) for parts in zip(*seen, strict=True))
    assert drawn.shape == (2000, 1, 8, 8)
    torch.testing.assert_close(drawn, 8 * (made + 1))
    assert points.abs().max() <= 1
    # Uniform on (-1, 1): 1/3, with a deviation of 2 % for 2000 points
    assert (points.var(0) - 1 / 3).abs().max() < 0.04
    assert drawn.min() >= 0
    assert drawn.max() <= 16


def test_collapse_is_the_variance_of_reconstructions_over_that_of_rows_by_hand():
    model = ready(20, kind="images")
    x = scaled("images")
    _, rebuilt, _ = network_by_hand(model, x)
    expected = rebuilt.numpy().var(0).sum() / x.numpy().var(0).sum()
    assert model.collapse(IMAGES) == pytest.approx(expected, rel=1e-6)


def test_constant_reconstructions_count_as_collapsed():
    model = ready()
    for weight in model.autoencoder.decoder.parameters():
        weight.zero_()
    assert model.collapse(TABLE) == 0


@pytest.mark.parametrize(("kind", "widest"), [("table", 7), ("images", 64)])
def test_floats_per_row_are_five_times_the_widest_layer(kind, widest):
    # For the table the hidden layer of 7; for images the image itself, as large as its
    # 4 maps of 4 x 4.
    assert ready(kind=kind).floats_per_row == 5 * widest

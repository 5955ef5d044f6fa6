"""f-AnoGAN's scores against values computed by hand, in numpy, with known weights."""

import numpy as np
import pytest
import torch
from torch import nn

from skanogan.models import EncoderTraining, FAnoGAN, GANParts, GANTraining
from skanogan.models._fanogan import FANOGAN_SCORES
from skanogan.nn import Prior, Scaling, as_discriminator

# G(z) = tanh(z W), E(x) = x V, f(x) = leaky(x A + a); x is scaled by (x - 2) / 3.
W = np.array([[1.0, -2.0, 0.5], [0.3, 0.7, -1.0]])
V = np.array([[0.25, 0.5], [-0.6, 0.25], [0.5, 0.1]])
A = np.array([[0.5, -1.0], [1.5, 0.2], [-0.7, 0.9]])
a = np.array([0.1, -0.4])
SHIFT, SCALE = 2.0, 3.0
X = np.array([[3.0, -1.0, 4.0], [2.0, 2.0, 2.0], [0.5, 7.0, -3.0], [9.0, 1.0, 0.0]])
REFERENCE = np.random.RandomState(0).normal(2, 3, size=(12, 3))
FEATURE_WEIGHT, SHRINKAGE = 0.7, 0.05


def features_by_hand(scaled):
    hidden = scaled @ A + a
    return np.where(hidden > 0, hidden, 0.2 * hidden)


def parts_by_hand(x):
    """x on the networks' scale, E(x), G(E(x)) and f(x) - f(G(E(x)))."""
    scaled = (x - SHIFT) / SCALE
    z = scaled @ V
    drawn = np.tanh(z @ W)
    return scaled, z, drawn, features_by_hand(scaled) - features_by_hand(drawn)


def residual_by_hand(x):
    scaled, _, drawn, _ = parts_by_hand(x)
    return ((scaled - drawn) ** 2).mean(1)


def discrimination_by_hand(x):
    return (parts_by_hand(x)[3] ** 2).mean(1)


def f_anogan_by_hand(x):
    return residual_by_hand(x) + FEATURE_WEIGHT * discrimination_by_hand(x)


def latent_by_hand(x):
    _, z, drawn, _ = parts_by_hand(x)
    return ((z - drawn @ V) ** 2).mean(1)


def whitened_by_hand(x):
    normal, difference = parts_by_hand(REFERENCE)[3], parts_by_hand(x)[3]
    moment = normal.T @ normal / len(normal)
    moment += SHRINKAGE * np.trace(moment) / 2 * np.eye(2)
    return np.einsum("ni,ij,nj->n", difference, np.linalg.inv(moment), difference)


BY_HAND = {
    "residual": residual_by_hand,
    "discrimination": discrimination_by_hand,
    "f_anogan": f_anogan_by_hand,
    "latent": latent_by_hand,
    "whitened": whitened_by_hand,
}


def ready(score, shrinkage=SHRINKAGE):
    """A frozen model in float64."""
    generator = nn.Sequential(nn.Linear(2, 3, bias=False), nn.Tanh())
    discriminator = nn.Sequential(nn.Linear(3, 2), nn.LeakyReLU(0.2), nn.Linear(2, 1))
    encoder = nn.Linear(3, 2, bias=False)
    parts = GANParts(
        generator,
        as_discriminator(discriminator),
        Scaling(torch.tensor(SHIFT).double(), torch.tensor(SCALE).double()),
        Prior("normal"),
        2,
        GANTraining(),
    )
    settings = EncoderTraining(after=1, feature_weight=FEATURE_WEIGHT)
    model = FAnoGAN(parts, encoder, settings, score, shrinkage)
    model.eval().requires_grad_(False).double()
    for network, values in (
        (generator[0].weight, W.T),
        (discriminator[0].weight, A.T),
        (discriminator[0].bias, a),
        (encoder.weight, V.T),
    ):
        network.copy_(torch.from_numpy(values))
    model.prepare_scoring(torch.from_numpy(REFERENCE), torch.Generator().manual_seed(0))
    return model


def score(model, x=X):
    return model.score(torch.from_numpy(x)).numpy()


@pytest.mark.parametrize("name", FANOGAN_SCORES)
def test_every_score_is_the_one_computed_by_hand(name):
    np.testing.assert_allclose(score(ready(name)), BY_HAND[name](X), rtol=1e-9)


@pytest.mark.parametrize("name", FANOGAN_SCORES)
def test_a_row_scores_the_same_alone_and_among_others(name):
    model = ready(name)
    alone = np.concatenate([score(model, x[None]) for x in X])
    np.testing.assert_allclose(alone, score(model), rtol=1e-12)


def test_two_rows_by_hand_with_every_number_written_out():
    # x scaled = (0, 0, 0), E(x) = (0, 0), G(E(x)) = x; and
    # x scaled = (3, 0, 0), E(x) = (.75, 1.5), G(E(x)) = tanh(1.2, -.45, -1.125)
    x = np.array([[2.0, 2.0, 2.0], [11.0, 2.0, 2.0]])
    drawn = np.array([0.8336546, -0.4218990, -0.8093010])
    pixels = ((np.array([3.0, 0.0, 0.0]) - drawn) ** 2).mean()
    np.testing.assert_allclose(score(ready("residual"), x), [0.0, pixels], rtol=1e-6)


def test_whitened_scores_of_the_reference_rows_average_to_the_number_of_features():
    # The trace of M^-1 M is 2, the number of features, less the share of shrinkage.
    found = score(ready("whitened", shrinkage=1e-9), REFERENCE).mean()
    assert found == pytest.approx(2, rel=1e-6)


def test_find_latents_returns_the_outputs_of_the_encoder():
    found = ready("whitened").find_latents(torch.from_numpy(X))
    np.testing.assert_allclose(found, (X - SHIFT) / SCALE @ V, atol=1e-12)

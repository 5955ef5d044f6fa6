"""A warm start: weights, records and parameters of the second fit."""

import copy

import numpy as np
import pytest
import torch

from skanogan.inspection._training_curve import kept_update


def test_a_warm_start_continues_from_the_weights_that_score(make_detector, blob):
    detector = make_detector(warm_start=True, ema_decay=0.0).fit(blob)
    first = [w.clone() for w in detector.model_.members[0].generator.parameters()]
    detector.set_params(max_iter=1, learning_rate=1e-9).fit(blob)
    for a, b in zip(
        first, detector.model_.members[0].generator.parameters(), strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)
    assert [record["n_iter"] for record in detector.history_] == [*range(1, 12)]


def test_a_warm_start_uses_the_present_parameters(make_detector, blob):
    detector = make_detector(warm_start=True, anomaly_score="residual").fit(blob)
    before = detector.score_samples(blob)
    detector.set_params(max_iter=1, learning_rate=1e-9, anomaly_score="p_d").fit(blob)
    x = torch.from_numpy(blob)
    expected = (
        detector.model_.members[0].discriminator(detector.model_._scaled(x)).numpy()
    )
    np.testing.assert_allclose(detector.score_samples(blob), expected, rtol=1e-9)
    assert not np.allclose(before, expected)


def test_a_warm_start_keeps_every_bit_of_the_scaling(make_detector, blob):
    detector = make_detector(warm_start=True).fit(blob + 1e7)
    shift = detector.model_.scaling.shift.clone()
    detector.fit(blob + 1e7)
    assert torch.equal(detector.model_.scaling.shift, shift)


def test_a_warm_start_with_other_layers_is_refused(make_ocgan, blob):
    # Regression: layers at other positions got new weights, without a message.
    detector = make_ocgan(warm_start=True).fit(blob)
    before = detector.score_samples(blob)
    detector.set_params(normalization="batch")
    with pytest.raises(
        ValueError, match=r"sets the layers of autoencoder has changed .*warm_start=F"
    ):
        detector.fit(blob)
    assert np.array_equal(detector.score_samples(blob), before)


def test_a_warm_start_trains_a_network_that_the_first_fit_lacked(make_ocgan, blob):
    detector = make_ocgan(warm_start=True, visual_discriminator=False).fit(blob)
    before = copy.deepcopy(detector.model_.members[0].autoencoder.state_dict())
    detector.set_params(
        visual_discriminator=True, max_iter=1, learning_rate=1e-12, n_mining_steps=0
    )
    detector.fit(blob)
    after = detector.model_.members[0].autoencoder.state_dict()
    assert "visual_discriminator" in dict(detector.model_.members[0].named_children())
    for name, weight in before.items():
        torch.testing.assert_close(after[name], weight, atol=1e-6, rtol=1e-6)


def test_the_kept_update_is_searched_in_the_last_fit(make_ocgan, blob):
    # Regression: fits were told apart by their seconds, which can continue to rise.
    detector = make_ocgan(warm_start=True, max_iter=4).fit(blob)
    for record in detector.history_:
        record["seconds"], record["validation_error"] = 0.0, 0.0
    detector.fit(blob)
    assert [record.get("fit") for record in detector.history_] == [1] * 4 + [2] * 4
    assert kept_update(detector.history_) > 4

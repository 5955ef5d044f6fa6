import numpy as np
import pytest
import torch
from torch import nn

from skanogan import AnoGANDetector
from skanogan._training import Diverged, shuffled_batches, train
from skanogan.exceptions import (
    BatchSizeWarning,
    DiscriminatorWinsWarning,
    DivergenceError,
    DivergenceWarning,
)
from skanogan.models import AnoGAN, Model


class Counter(Model):
    """Its one weight counts the updates, and its loss is that number."""

    def __init__(self, nan_after=None, nan_in="loss"):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.nan_after = nan_after
        self.nan_in = nan_in
        self.finished = False

    def start_training(self, rng):
        self.noise = rng

    def train_step(self, x):
        with torch.no_grad():
            self.weight += 1
        loss = self.weight.detach().clone()
        if self.nan_after is not None and float(loss) > self.nan_after:
            broken = loss if self.nan_in == "loss" else self.weight
            with torch.no_grad():
                broken += torch.nan
        return {"loss": loss}

    def finish_training(self):
        self.finished = True

    def prepare_scoring(self, x, rng): ...
    def score(self, x): ...
    def reconstruct(self, x): ...
    def residual_map(self, x): ...
    def embed(self, x): ...
    def sample(self, n_samples, rng): ...
    def collapse(self, x): ...

    @property
    def floats_per_row(self):
        return 1


class Validated(Counter):
    """After n updates its error on each held-out row is the n-th of those given."""

    def __init__(self, errors, **parameters):
        super().__init__(**parameters)
        self.errors = errors
        self.n_updates = 0
        self.trained_on = []
        self.validated_on = []

    def train_step(self, x):
        self.n_updates += 1
        self.trained_on += x.flatten().tolist()
        return super().train_step(x)

    def validation_error(self, x):
        assert not torch.is_grad_enabled()
        self.validated_on.append(x.flatten().tolist())
        error = self.errors[self.n_updates - 1]
        return None if error is None else torch.full((len(x),), error)


class Recorded:
    """Rows that remember which of them were asked for."""

    def __init__(self, n):
        self.n = n
        self.asked = []

    def __len__(self):
        return self.n

    def batch(self, at):
        self.asked.append(at.tolist())
        return at[:, None].float()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def run(model, rows, n_updates=20, batch_size=4, report_every=5, seed=0, held_out=None):
    return list(
        train(
            model,
            rows,
            n_updates=n_updates,
            batch_size=batch_size,
            report_every=report_every,
            batch_rng=generator(seed),
            noise_rng=generator(1),
            held_out=held_out,
        )
    )


@pytest.mark.parametrize("n", [1, 2, 3, 7, 63, 64, 65, 130, 1000])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 64, 128])
def test_every_row_is_seen_once_an_epoch(n, batch_size):
    # Regression: one mini-batch per "epoch" in PyOD's AnoGAN.
    batches = shuffled_batches(n, batch_size, generator())
    for _ in range(3):
        epoch = []
        while len(epoch) < n:
            epoch += next(batches).tolist()
        assert sorted(epoch) == list(range(n))


@pytest.mark.parametrize("batch_size", [2, 3, 5, 64, 128])
def test_batches_are_nearly_equal_and_none_is_one_row(batch_size):
    for n in range(2, 300):
        batches = shuffled_batches(n, batch_size, generator())
        sizes = []
        while sum(sizes) < n:
            sizes.append(len(next(batches)))
        assert max(sizes) - min(sizes) <= 1, (n, sizes)
        assert min(sizes) > 1, (n, sizes)
        assert max(sizes) < 1.5 * batch_size + 1, (n, sizes)


def test_one_row_more_than_a_batch_makes_one_batch():
    assert len(next(shuffled_batches(130, 128, generator()))) == 130


def test_epochs_are_shuffled_anew():
    batches = shuffled_batches(100, 100, generator())
    assert next(batches).tolist() != next(batches).tolist()


def test_order_of_rows_is_that_of_the_seed():
    first, again, other = (
        next(shuffled_batches(50, 50, generator(seed))).tolist() for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_training_takes_as_many_updates_as_asked_whatever_the_number_of_rows():
    for n in (2, 10, 1000):
        model, rows = Counter(), Recorded(n)
        run(model, rows, n_updates=17)
        assert model.weight.item() == 17
        assert len(rows.asked) == 17
        assert model.finished


def test_records_hold_the_mean_of_the_losses_since_the_last_one():
    records = run(Counter(), Recorded(10), n_updates=12, report_every=5)
    assert [record["n_iter"] for record in records] == [5, 10, 12]
    assert [record["loss"] for record in records] == [3.0, 8.0, 11.5]
    seconds = [record["seconds"] for record in records]
    assert seconds == sorted(seconds)


def test_the_caller_can_stop_the_training():
    model = Counter()
    loop = train(
        model,
        Recorded(10),
        n_updates=100,
        batch_size=4,
        report_every=5,
        batch_rng=generator(),
        noise_rng=generator(),
    )
    next(loop)
    loop.close()
    assert model.weight.item() == 5


@pytest.mark.parametrize("nan_in", ["loss", "weight"])
def test_divergence_goes_back_to_the_last_finite_record(nan_in):
    model = Counter(nan_after=13, nan_in=nan_in)
    with pytest.raises(Diverged) as error:
        run(model, Recorded(10))
    assert error.value.kept == 10
    assert error.value.update == 15
    assert model.weight.item() == 10
    assert model.finished


def test_divergence_before_the_first_record_is_not_recovered():
    with pytest.raises(Diverged) as error:
        run(Counter(nan_after=2), Recorded(10))
    assert error.value.kept is None
    assert error.value.update == 5


HELD_OUT = torch.arange(100, 107)[:, None].float()


def validated(errors, held_out=HELD_OUT, **parameters):
    """A model trained with a record after every update, and the records."""
    model = Validated(errors, **parameters)
    rows = Recorded(10)
    records = run(model, rows, n_updates=len(errors), report_every=1, held_out=held_out)
    return model, records


@pytest.mark.parametrize(
    ("errors", "best"),
    [
        ([4.0, 2.0, 3.0, 5.0], 2),
        ([4.0, 3.0, 2.0, 1.0], 4),
        ([1.0, 2.0, 3.0, 4.0], 1),
        ([3.0, 1.0, 2.0, 0.5], 4),
    ],
)
def test_the_state_with_the_least_validation_error_is_kept(errors, best):
    model, _ = validated(errors)
    assert model.weight.item() == best
    assert model.finished


def test_without_a_validation_error_the_last_state_is_kept():
    model, records = validated([None, None, None])
    assert model.weight.item() == 3
    assert all("validation_error" not in record for record in records)


def test_without_held_out_rows_the_last_state_is_kept_and_no_error_asked_for():
    model, records = validated([1.0, 2.0, 3.0], held_out=None)
    assert model.weight.item() == 3
    assert model.validated_on == []
    assert all("validation_error" not in record for record in records)


def test_records_hold_the_validation_error():
    _, records = validated([4.0, 2.0, 3.0])
    assert [record["validation_error"] for record in records] == [4.0, 2.0, 3.0]


def test_only_the_states_of_records_are_compared():
    errors = [0.0, 4.0, 1.0, 3.0]
    model = Validated(errors)
    run(model, Recorded(10), n_updates=4, report_every=2, held_out=HELD_OUT)
    assert model.weight.item() == 4
    assert len(model.validated_on) == 2


def test_held_out_rows_are_compared_on_and_never_trained_on():
    model, _ = validated([2.0, 1.0, 3.0])
    held_out = HELD_OUT.flatten().tolist()
    assert model.validated_on == [held_out] * 3
    assert not set(model.trained_on) & set(held_out)


def test_the_validation_error_is_the_mean_over_rows_that_are_rebuilt_in_chunks():
    class Own(Validated):
        def validation_error(self, x):
            super().validation_error(x)
            return x.flatten()

    model = Own([0.0])
    rows = torch.arange(700)[:, None].float()
    (record,) = run(model, Recorded(10), 1, report_every=1, held_out=rows)
    assert record["validation_error"] == pytest.approx(349.5)
    assert [row for chunk in model.validated_on for row in chunk] == [*range(700)]
    assert max(map(len, model.validated_on)) < 700


@pytest.mark.parametrize("error", [np.nan, np.inf])
def test_a_validation_error_that_is_not_finite_is_divergence(error):
    model = Validated([3.0, 1.0, 2.0, error, 0.0])
    with pytest.raises(Diverged) as raised:
        run(model, Recorded(10), 5, report_every=1, held_out=HELD_OUT)
    assert (raised.value.update, raised.value.kept) == (4, 2)
    assert model.weight.item() == 2
    assert model.finished


def test_a_first_validation_error_that_is_not_finite_leaves_no_state_to_go_back_to():
    model = Validated([np.nan, 1.0])
    with pytest.raises(Diverged) as raised:
        run(model, Recorded(10), 2, report_every=1, held_out=HELD_OUT)
    assert (raised.value.update, raised.value.kept) == (1, None)


@pytest.mark.parametrize("nan_in", ["loss", "weight"])
def test_divergence_goes_back_to_the_state_with_the_least_validation_error(nan_in):
    model = Validated([3.0, 1.0, 2.0, 0.0], nan_after=3, nan_in=nan_in)
    with pytest.raises(Diverged) as raised:
        run(model, Recorded(10), 4, report_every=1, held_out=HELD_OUT)
    assert (raised.value.update, raised.value.kept) == (4, 2)
    assert model.weight.item() == 2


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_detector_that_diverges_at_once_says_so_and_what_to_do(make_detector, blob):
    detector = make_detector(learning_rate=1e30)
    with pytest.raises(
        DivergenceError, match=r"within its first 1 updates.*Lower learning_rate"
    ):
        detector.fit(blob)
    assert not hasattr(detector, "model_")


@pytest.fixture
def diverging_after(monkeypatch):
    """Make AnoGAN's updates NaN after some of them."""

    def diverge(n_updates):
        step, count = AnoGAN.train_step, [0]

        def broken(self, x):
            losses = step(self, x)
            count[0] += 1
            if count[0] > n_updates:
                with torch.no_grad():
                    next(self.generator.parameters()).fill_(torch.nan)
            return losses

        monkeypatch.setattr(AnoGAN, "train_step", broken)

    return diverge


def test_a_detector_that_diverges_later_keeps_its_last_finite_state(
    make_detector, blob, diverging_after
):
    healthy = make_detector(max_iter=33).fit(blob)
    diverging_after(33)
    detector = make_detector(max_iter=60)  # a record every 3 updates
    with pytest.warns(
        DivergenceWarning,
        match=r"by update 36 of 60; .* state of update 33\. Lower learning_rate",
    ) as caught:
        detector.fit(blob)
    assert caught[0].filename == __file__
    assert detector.n_iter_ == 33
    assert detector.history_[-1]["n_iter"] == 33
    assert np.array_equal(detector.score_samples(blob), healthy.score_samples(blob))


def test_a_warm_start_that_diverges_leaves_the_first_fit(
    make_detector, blob, diverging_after
):
    detector = make_detector(warm_start=True).fit(blob)
    scores = detector.score_samples(blob)
    diverging_after(0)
    with pytest.raises(DivergenceError):
        detector.fit(blob)
    assert np.array_equal(detector.score_samples(blob), scores)
    assert detector.n_iter_ == 10


@pytest.mark.parametrize("kind", ["table", "images"])
def test_training_reduces_the_residual_of_normal_rows_far_from_zero(
    make_detector, blob, zeros, kind
):
    # Regression: rows around 100 under a tanh that ends at 1.
    X = (blob if kind == "table" else zeros) + 100
    search = {"anomaly_score": "residual", "start": "random", "n_steps": 30}
    residuals = [
        make_detector(max_iter=n, learning_rate=2e-3, **search).fit(X).score_samples(X)
        for n in (1, 300)
    ]
    assert np.isfinite(residuals).all()
    assert np.mean(residuals[1]) > np.mean(residuals[0])


def test_a_discriminator_that_wins_outright_is_told(blob):
    # Thirty rows in sixty dimensions: D learns them by heart.
    rows = np.random.RandomState(0).uniform(size=(30, 60))
    detector = AnoGANDetector(max_iter=400, learning_rate=2e-3, random_state=0)
    with pytest.warns(DiscriminatorWinsWarning, match="gradient_penalty=1"):
        detector.fit(rows)
    last = detector.history_[-1]
    assert last["real_logit"] - last["drawn_logit"] >= 8


def test_a_game_that_goes_well_is_not_remarked_upon(make_detector, blob, recwarn):
    make_detector(max_iter=50).fit(blob)
    assert not [w for w in recwarn if w.category is DiscriminatorWinsWarning]


def test_a_batch_larger_than_the_rows_is_told(make_detector, blob):
    with pytest.warns(BatchSizeWarning, match="batch_size=73 with 64 rows"):
        make_detector(batch_size=73).fit(blob)


def test_training_ends_when_the_validation_error_has_settled(make_ocgan, blob):
    detector = make_ocgan(max_iter=200, learning_rate=0.5, n_iter_no_change=20)
    detector.fit(blob)
    errors = [record["validation_error"] for record in detector.history_]
    least = int(np.argmin(errors))
    every = detector.history_[0]["n_iter"]
    assert detector.n_iter_ < 200
    assert (len(errors) - 1 - least) * every == 20


def test_the_encoder_alone_ends_early(make_fanogan, blob):
    parameters = {"max_iter": 40, "encoder_max_iter": 100, "n_iter_no_change": 7}
    detector = make_fanogan(**parameters, encoder_learning_rate=1.0).fit(blob)
    assert 40 < detector.n_iter_ < 140

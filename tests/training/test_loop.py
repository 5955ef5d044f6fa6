"""The training loop: batches, records, the state that is kept, divergence."""

import numpy as np
import pytest
import torch
from torch import nn

from skanogan._training.loop import Diverged, Progress, shuffled_batches, train
from skanogan.models import Model


class Counter(Model):
    """A model whose only weight counts the updates. Its loss is the same number."""

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
    """A model whose validation error after n updates is the n-th of those given."""

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
    """Rows that record which positions are read."""

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
def test_every_row_occurs_once_in_an_epoch(n, batch_size):
    # PyOD's AnoGAN trains on one mini-batch per "epoch".
    batches = shuffled_batches(n, batch_size, generator())
    for _ in range(3):
        epoch = []
        while len(epoch) < n:
            epoch += next(batches).tolist()
        assert sorted(epoch) == list(range(n))


@pytest.mark.parametrize("batch_size", [2, 3, 5, 64, 128])
def test_batches_are_nearly_equal_and_have_two_rows_or_more(batch_size):
    for n in range(2, 300):
        batches = shuffled_batches(n, batch_size, generator())
        sizes = []
        while sum(sizes) < n:
            sizes.append(len(next(batches)))
        assert max(sizes) - min(sizes) <= 1, (n, sizes)
        assert min(sizes) > 1, (n, sizes)
        assert max(sizes) < 1.5 * batch_size + 1, (n, sizes)


def test_two_rows_more_than_a_batch_make_one_batch():
    assert len(next(shuffled_batches(130, 128, generator()))) == 130


def test_each_epoch_has_another_order():
    batches = shuffled_batches(100, 100, generator())
    assert next(batches).tolist() != next(batches).tolist()


def test_the_order_of_rows_repeats_with_the_seed():
    first, again, other = (
        next(shuffled_batches(50, 50, generator(seed))).tolist() for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_the_number_of_updates_does_not_depend_on_the_number_of_rows():
    for n in (2, 10, 1000):
        model, rows = Counter(), Recorded(n)
        run(model, rows, n_updates=17)
        assert model.weight.item() == 17
        assert len(rows.asked) == 17
        assert model.finished


def test_a_record_has_the_mean_loss_since_the_last_record():
    records = run(Counter(), Recorded(10), n_updates=12, report_every=5)
    assert [record["n_iter"] for record in records] == [5, 10, 12]
    assert [record["loss"] for record in records] == [3.0, 8.0, 11.5]
    seconds = [record["seconds"] for record in records]
    assert seconds == sorted(seconds)


def test_the_caller_stops_at_a_record_by_the_progress():
    model, progress = Counter(), Progress()
    loop = train(
        model,
        Recorded(10),
        n_updates=100,
        batch_size=4,
        report_every=5,
        batch_rng=generator(),
        noise_rng=generator(),
        progress=progress,
    )
    next(loop)
    progress.stop = True
    assert list(loop) == []
    assert model.weight.item() == progress.n_iter == 5
    assert model.finished


def test_the_caller_can_close_the_training():
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
def test_divergence_restores_the_last_finite_record(nan_in):
    model = Counter(nan_after=13, nan_in=nan_in)
    with pytest.raises(Diverged) as error:
        run(model, Recorded(10))
    assert error.value.kept == 10
    assert error.value.update == 15
    assert model.weight.item() == 10
    assert model.finished


def test_divergence_before_the_first_record_restores_nothing():
    with pytest.raises(Diverged) as error:
        run(Counter(nan_after=2), Recorded(10))
    assert error.value.kept is None
    assert error.value.update == 5


HELD_OUT = torch.arange(100, 107)[:, None].float()


def validated(errors, held_out=HELD_OUT, **parameters):
    """Train a model with a record after every update. Return it and the records."""
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


def test_without_held_out_rows_no_validation_error_is_computed():
    model, records = validated([1.0, 2.0, 3.0], held_out=None)
    assert model.weight.item() == 3
    assert model.validated_on == []
    assert all("validation_error" not in record for record in records)


def test_records_have_the_validation_error():
    _, records = validated([4.0, 2.0, 3.0])
    assert [record["validation_error"] for record in records] == [4.0, 2.0, 3.0]


def test_only_the_states_of_records_are_compared():
    errors = [0.0, 4.0, 1.0, 3.0]
    model = Validated(errors)
    run(model, Recorded(10), n_updates=4, report_every=2, held_out=HELD_OUT)
    assert model.weight.item() == 4
    assert len(model.validated_on) == 2


def test_held_out_rows_are_only_validated_on():
    model, _ = validated([2.0, 1.0, 3.0])
    held_out = HELD_OUT.flatten().tolist()
    assert model.validated_on == [held_out] * 3
    assert not set(model.trained_on) & set(held_out)


def test_the_validation_error_is_a_mean_over_chunks_of_rows():
    class ErrorIsTheRow(Validated):
        def validation_error(self, x):
            super().validation_error(x)
            return x.flatten()

    model = ErrorIsTheRow([0.0])
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


def test_divergence_at_the_first_validation_error_restores_nothing():
    model = Validated([np.nan, 1.0])
    with pytest.raises(Diverged) as raised:
        run(model, Recorded(10), 2, report_every=1, held_out=HELD_OUT)
    assert (raised.value.update, raised.value.kept) == (1, None)


@pytest.mark.parametrize("nan_in", ["loss", "weight"])
def test_divergence_restores_the_state_with_the_least_validation_error(nan_in):
    model = Validated([3.0, 1.0, 2.0, 0.0], nan_after=3, nan_in=nan_in)
    with pytest.raises(Diverged) as raised:
        run(model, Recorded(10), 4, report_every=1, held_out=HELD_OUT)
    assert (raised.value.update, raised.value.kept) == (4, 2)
    assert model.weight.item() == 2

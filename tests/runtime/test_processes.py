"""Training in two processes equals training in one. Torchrun runs this file."""

import io
import os
import pickle
import subprocess
import sys
import warnings
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn

from skanogan import AnoGANDetector, FAnoGANDetector, OCGANDetector
from skanogan._runtime import processes
from skanogan._runtime.device import resolve_device
from skanogan.exceptions import CollapseWarning
from skanogan.models import OCGAN
from skanogan.nn._losses import gradient_penalty

N_PROCESSES = 2

TOLERANCE = 1e-4
"""The largest difference of scores, which are logarithms in deviations of normal rows.
Rounding differs between one and two processes, and grows with the updates."""

# Results of each process --------------------------------------------------------


def table():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(97, 2)) @ rng.normal(size=(2, 5)) + rng.normal(size=(97, 5))
    return 10 + X * [1, 2, 5, 0.1, 1]


def images():
    digits = load_digits()
    return digits.images[digits.target == 0][:101]


CHEAP = {
    "n_estimators": 1,
    "n_neighbors": 0,
    "max_iter": 12,
    "hidden_layer_sizes": (16, 16),
    "n_filters": 4,
    "latent_dim": 4,
    "ema_decay": 0.5,
    "learning_rate": 2e-3,
    "device": "cpu",
    "random_state": 0,
}


class EarlyMining(OCGANDetector):
    """OCGAN that mines from its fourth update on."""

    def _make_model(self, scaling, row_shape, rng):
        model = super()._make_model(scaling, row_shape, rng)
        model.game = replace(model.game, mining_start=4)
        return model


class Biasless(EarlyMining):
    """OCGAN without the biases that batch normalisation cancels.

    The gradients of these biases are zero up to rounding, and Adam makes full steps of
    the rounding. Scores with them would depend on the order of a sum.
    """

    def _make_model(self, scaling, row_shape, rng):
        model = super()._make_model(scaling, row_shape, rng)
        before = None
        for layer in model.autoencoder.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                before.bias = None
            elif hasattr(layer, "bias"):
                before = layer
        return model


def fits():
    """Yield names, detectors and rows. The batches of an epoch differ by one row."""
    few, many = {**CHEAP, "batch_size": 21}, {**CHEAP, "batch_size": 33}
    r1 = {"gradient_penalty": 2.0}
    yield "AnoGAN, table", AnoGANDetector(**many), table()
    yield "AnoGAN, R1", AnoGANDetector(**few, **r1, prior="uniform"), table()
    yield "AnoGAN, images", AnoGANDetector(**few), images()
    yield "AnoGAN, images, R1", AnoGANDetector(**few, **r1), images()
    yield (
        "AnoGAN, smallest batches",
        AnoGANDetector(**{**few, "batch_size": 5}),
        table(),
    )
    for name, X in {"table": table(), "images": images()}.items():
        yield f"f-AnoGAN, {name}", FAnoGANDetector(**few, encoder_max_iter=12), X
        yield f"OCGAN, {name}", EarlyMining(**few), X
    batch = {**few, "normalization": "batch"}
    yield "OCGAN, batch norm", Biasless(**batch, backbone="mlp"), images()
    yield (
        "OCGAN, images, batch norm",
        Biasless(**batch, backbone="convolutional"),
        images(),
    )


def fitted():
    results = {}
    for name, detector, X in fits():
        detector.fit(X)
        history = [
            {key: value for key, value in record.items() if key != "seconds"}
            for record in detector.history_
        ]
        results[name] = (detector.score_samples(X), detector.offset_, history)
    return results


def with_members():
    """Scores of ensembles."""
    return [
        AnoGANDetector(**{**CHEAP, "n_estimators": 3, "batch_size": 21})
        .fit(X)
        .score_samples(X)
        for X in (table(), images())
    ]


def seedless():
    """Scores of detectors whose seeds or first weights differ between processes."""
    networks = {
        "generator": nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 5)),
        "discriminator": nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 1)),
    }
    generator = np.random.RandomState(os.getpid() % 2**31)
    scores = []
    for parameters in ({}, networks, {"random_state": generator}):
        cheap = {**CHEAP, "random_state": None, "batch_size": 20, **parameters}
        scores.append(AnoGANDetector(**cheap).fit(table()).score_samples(table()))
    return scores


def mining_evidence():
    """The running means by which OCGAN decides to mine."""
    kept, finish = [], OCGAN.finish_training

    def keep(model):
        kept.append(model._mining.means)
        finish(model)

    OCGAN.finish_training = keep
    try:
        OCGANDetector(**CHEAP, batch_size=7).fit(table())
    finally:
        OCGAN.finish_training = finish
    return kept[0].numpy()


def normalized(momentum):
    """Outputs and statistics of batch normalisation on the rows of this process."""
    rng = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=momentum))
    network.double()
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(torch.randn(weight.shape, generator=rng))
    x = 5 + torch.randn(9, 3, 4, 4, generator=rng, dtype=torch.float64)
    target = torch.randn(9, 4, 2, 2, generator=rng, dtype=torch.float64)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    processes.share_gradients(optimizer)
    outputs = []
    for _ in range(2):
        with processes.own_rows(torch.arange(9), network) as own:
            y = network(x[own])
            (y - target[own]).square().mean().backward()
            optimizer.step()
            outputs.append(y.detach())
            optimizer.zero_grad()
    values = {name: v.clone() for name, v in network.state_dict().items()}
    in_eval_mode = network.eval()(x).detach()
    return outputs, {**values, "in eval mode": in_eval_mode}


def penalized():
    """Weights after a step on R1 through a discriminator with batch normalisation."""
    rng = torch.Generator().manual_seed(0)
    network = nn.Sequential(
        nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 1)
    ).double()
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(torch.randn(weight.shape, generator=rng))
    x = torch.randn(11, 5, generator=rng, dtype=torch.float64)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    processes.share_gradients(optimizer)
    with processes.own_rows(torch.arange(11), network) as own:
        gradient_penalty(network, x[own]).backward()
        optimizer.step()
    return {name: w.detach() for name, w in network.named_parameters()}


def error_of_small_batches():
    """The error of batches that are too small for two processes."""
    try:
        AnoGANDetector(**CHEAP, batch_size=3).fit(table())
    except ValueError as error:
        return str(error)


def draws_progress_bar():
    """Whether a progress bar was drawn."""
    with redirect_stderr(io.StringIO()) as drawn:
        AnoGANDetector(**CHEAP, verbose=1).fit(table())
    return "AnoGANDetector" in drawn.getvalue()


def everything():
    return {
        "fits": fitted(),
        "members": with_members(),
        "seedless": seedless(),
        "mining": mining_evidence(),
        "normalized": [normalized(0.1), normalized(None)],
        "penalized": penalized(),
        "error": error_of_small_batches(),
        "progress": draws_progress_bar(),
    }


# Two processes ------------------------------------------------------------------


def main(folder):
    """Write the results of this process, or fail in the second process."""
    warnings.simplefilter("ignore", CollapseWarning)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    if folder == "one-fails":
        X = table()
        X[0, 0] = np.nan if rank else 0
        AnoGANDetector(**CHEAP).fit(X)
    else:
        results = pickle.dumps(everything())
        Path(folder, f"{rank}.pickle").write_bytes(results)
    dist.destroy_process_group()


def launch(argument):
    root = Path(processes.__file__).parents[2]
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *(f"--nproc_per_node={N_PROCESSES}", __file__, str(argument)),
        ],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """The results of each of two processes."""
    if not (dist.is_available() and dist.is_gloo_available()):
        pytest.skip("this torch has no gloo")
    folder = tmp_path_factory.mktemp("processes")
    done = launch(folder)
    assert done.returncode == 0, done.stderr
    files = sorted(folder.glob("*.pickle"))
    assert len(files) == N_PROCESSES
    return [pickle.loads(file.read_bytes()) for file in files]


@pytest.fixture(scope="module")
def alone():
    """The results of one process."""
    return fitted()


NAMES = [name for name, _, _ in fits()]


@pytest.mark.parametrize("name", NAMES)
def test_scores_equal_those_of_one_process_with_the_whole_batch(together, alone, name):
    scores, offset, _ = alone[name]
    for process in together:
        theirs, their_offset, _ = process["fits"][name]
        assert np.abs(theirs - scores).max() <= TOLERANCE
        assert abs(their_offset - offset) <= TOLERANCE


@pytest.mark.parametrize("name", NAMES)
def test_records_equal_those_of_one_process(together, alone, name):
    for process in together:
        for theirs, ours in zip(process["fits"][name][2], alone[name][2], strict=True):
            assert theirs == pytest.approx(ours, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_all_processes_end_with_the_same_detector(together, name):
    first, second = (process["fits"][name] for process in together)
    assert np.array_equal(first[0], second[0])
    assert first[1:] == second[1:]


def test_all_processes_end_with_the_same_members(together):
    for first, second in zip(*(p["members"] for p in together), strict=True):
        assert np.isfinite(first).all()
        assert np.array_equal(first, second)


def test_without_a_seed_all_processes_use_seed_and_weights_of_the_first(together):
    for first, second in zip(*(p["seedless"] for p in together), strict=True):
        assert np.array_equal(first, second)


def test_mining_is_decided_on_the_whole_batch(together):
    alone = mining_evidence()
    for process in together:
        assert process["mining"] == pytest.approx(alone, rel=1e-4)


@pytest.mark.parametrize("case", [0, 1], ids=["momentum", "cumulative"])
def test_batch_normalisation_equals_that_of_torch_on_the_whole_batch(together, case):
    outputs, values = normalized([0.1, None][case])
    parts = zip(*(process["normalized"][case][0] for process in together), strict=True)
    for output, part in zip(outputs, parts, strict=True):
        torch.testing.assert_close(torch.cat(part), output, rtol=1e-12, atol=1e-12)
    for process in together:
        found = process["normalized"][case][1]
        torch.testing.assert_close(found, values, rtol=1e-12, atol=1e-12)


def test_a_gradient_penalty_through_batch_normalisation_equals_that_of_one_process(
    together,
):
    for process in together:
        torch.testing.assert_close(process["penalized"], penalized())


def test_batches_too_small_for_all_processes_are_refused(together):
    for process in together:
        assert "2 processes need batches of 4 rows or more" in process["error"]
        assert "batch_size=3" in process["error"]


def test_only_the_first_process_draws_the_progress_bar(together):
    assert [process["progress"] for process in together] == [True, False]


def test_an_error_in_one_process_ends_all_and_is_reported():
    done = launch("one-fails")
    assert done.returncode != 0
    assert "X holds NaN" in done.stderr


# One process --------------------------------------------------------------------


def test_a_group_of_one_process_trains_as_without_a_group(tmp_path):
    before = dict(enumerate(AnoGANDetector(**CHEAP).fit(images()).history_))
    layer = nn.BatchNorm1d(2)
    with processes.own_rows(torch.arange(5), layer) as own:
        assert own.tolist() == [0, 1, 2, 3, 4]
        assert "forward" not in vars(layer)
    dist.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    try:
        again = dict(enumerate(AnoGANDetector(**CHEAP).fit(images()).history_))
    finally:
        dist.destroy_process_group()
    for record in (*before.values(), *again.values()):
        del record["seconds"]
    assert before == again


def test_rows_of_another_shape_than_in_the_first_process_are_refused(monkeypatch):
    def another_shape(value, device):
        return value[0], (40, 5)

    monkeypatch.setattr(processes, "from_first", another_shape)
    with pytest.raises(ValueError, match=r"\(97, 5\), but .*\(40, 5\)\. Pass the same"):
        AnoGANDetector(**CHEAP).fit(table())


@pytest.mark.parametrize(
    ("rank", "n_gpus", "expected"),
    [("1", 2, "cuda:1"), ("1", 1, "cuda"), (None, 2, "cuda")],
)
def test_auto_gives_each_process_a_gpu_of_its_own(monkeypatch, rank, n_gpus, expected):
    monkeypatch.setattr(
        "skanogan._runtime.device.available_devices", lambda: ["cuda", "cpu"]
    )
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_gpus)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    if rank is None:
        monkeypatch.delenv("LOCAL_RANK", raising=False)
    else:
        monkeypatch.setenv("LOCAL_RANK", rank)
    assert resolve_device("auto") == torch.device(expected)
    monkeypatch.setattr(dist, "is_initialized", lambda: False)
    assert resolve_device("auto") == torch.device("cuda")


if __name__ == "__main__":
    main(sys.argv[1])

import pickle

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from skanogan import _device
from skanogan._device import (
    available_devices,
    chunk_length,
    is_out_of_memory,
    resolve_device,
    resolve_dtype,
)
from skanogan.exceptions import DeviceFallbackWarning
from skanogan.models._anogan import AnoGAN

CPU, MPS = torch.device("cpu"), torch.device("mps")


@pytest.fixture
def machine_with(monkeypatch):
    """Pretend that this machine has certain devices."""

    def have(cuda=0, mps=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    monkeypatch.delenv("SKANOGAN_EXCLUDE_DEVICES", raising=False)
    return have


@pytest.mark.parametrize(
    ("machine", "best"),
    [({}, "cpu"), ({"mps": True}, "mps"), ({"cuda": 1, "mps": True}, "cuda")],
)
def test_auto_is_the_best_device_there_is(machine_with, machine, best):
    machine_with(**machine)
    assert resolve_device("auto") == torch.device(best)
    assert available_devices()[-1] == "cpu"


def test_devices_can_be_excluded_by_the_environment(machine_with, monkeypatch):
    machine_with(cuda=1, mps=True)
    monkeypatch.setenv("SKANOGAN_EXCLUDE_DEVICES", "cuda,mps")
    assert available_devices() == ["cpu"]
    assert resolve_device("auto") == CPU


@pytest.mark.parametrize("device", ["cpu", CPU])
def test_a_device_that_is_there_is_taken_at_its_word(device):
    assert resolve_device(device) == CPU


def test_the_index_of_a_gpu_is_kept(machine_with):
    machine_with(cuda=2)
    assert resolve_device("cuda:1") == torch.device("cuda:1")


@pytest.mark.parametrize(
    ("device", "machine"),
    [
        ("cuda", {}),
        (torch.device("cuda"), {}),
        ("mps", {"cuda": 1}),
        ("cuda:2", {"cuda": 2}),
        ("meta", {}),
    ],
)
def test_a_device_that_is_not_there_is_an_error_with_those_that_are(
    machine_with, device, machine
):
    machine_with(**machine)
    with pytest.raises(ValueError, match=r"not available .* device=\"auto\" .*'cpu'"):
        resolve_device(device)


@pytest.mark.parametrize("device", ["gpu", "", "cuda:x"])
def test_a_name_that_is_no_device_is_an_error(device):
    with pytest.raises(ValueError, match=r"is not a device\. Use device=\"auto\""):
        resolve_device(device)


@pytest.mark.parametrize(
    ("asked", "is_image", "device", "dtype"),
    [
        ("auto", False, CPU, torch.float64),
        ("auto", True, CPU, torch.float32),
        ("auto", False, MPS, torch.float32),
        ("float64", True, CPU, torch.float64),
        ("float32", False, CPU, torch.float32),
        ("bfloat16", False, CPU, torch.float32),
    ],
)
def test_precision_of_scores(asked, is_image, device, dtype):
    assert resolve_dtype(asked, is_image, device) == dtype


def test_float64_on_mps_is_an_error_with_two_ways_out():
    with pytest.raises(ValueError, match=r"no float64\. Use .*float32.* or .*cpu"):
        resolve_dtype("float64", False, MPS)


@pytest.mark.parametrize("make", ["make_detector", "make_ocgan"])
def test_bfloat16_rounds_scores_and_keeps_their_order(make, zeros, device, request):
    make = request.getfixturevalue(make)
    exact, rounded = (
        make(scoring_dtype=dtype, max_iter=60, device=device).fit(zeros)
        for dtype in ("float32", "bfloat16")
    )
    X = np.concatenate([zeros[:40], zeros[:40] + np.linspace(0, 8, 40)[:, None, None]])
    expected, found = exact.score_samples(X), rounded.score_samples(X)
    assert not np.array_equal(found, expected)
    assert spearmanr(found, expected)[0] > 0.98
    assert rounded.reconstruct(X).dtype == np.float64
    # The threshold is of the same precision as the scores.
    assert (rounded.predict(zeros) == 1).mean() > 0.8


def test_bfloat16_ends_with_the_scoring(make_detector, zeros):
    make_detector(scoring_dtype="bfloat16").fit(zeros).score_samples(zeros)
    assert not torch.is_autocast_enabled("cpu")
    product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == torch.float32


def test_chunks_fit_the_memory_allowed(monkeypatch):
    monkeypatch.setattr(_device, "MEMORY_BYTES", 8000)
    assert chunk_length(100, torch.float64, CPU) == 10
    assert chunk_length(100, torch.float32, CPU) == 20
    assert chunk_length(10**9, torch.float32, CPU) == 1


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.cuda.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
    ],
)
def test_errors_of_all_devices_that_mean_too_little_memory_are_known(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", [ValueError("out of memory"), RuntimeError("shape")])
def test_other_errors_do_not_mean_too_little_memory(error):
    assert not is_out_of_memory(error)


def fail_above(n_rows, error, seen):
    score = AnoGAN.score

    def limited(self, x):
        seen.append(len(x))
        if len(x) > n_rows:
            raise error
        return score(self, x)

    return limited


def test_scoring_goes_on_in_smaller_chunks_when_memory_runs_out(
    make_detector, blob, monkeypatch
):
    fitted = make_detector().fit(blob)
    expected = fitted.score_samples(blob)
    seen = []
    error = torch.cuda.OutOfMemoryError("CUDA out of memory.")
    monkeypatch.setattr(AnoGAN, "score", fail_above(12, error, seen))
    np.testing.assert_allclose(fitted.score_samples(blob), expected, rtol=1e-12)
    assert seen[:4] == [80, 40, 20, 10]
    assert seen[3:] == [10] * 8


def test_a_single_row_that_does_not_fit_is_an_error(make_detector, blob, monkeypatch):
    fitted = make_detector().fit(blob)
    monkeypatch.setattr(AnoGAN, "score", fail_above(0, MemoryError("full"), []))
    with pytest.raises(MemoryError, match="full"):
        fitted.score_samples(blob)


def test_other_errors_while_scoring_are_not_tried_again(
    make_detector, blob, monkeypatch
):
    fitted = make_detector().fit(blob)
    seen = []
    monkeypatch.setattr(AnoGAN, "score", fail_above(0, RuntimeError("shape"), seen))
    with pytest.raises(RuntimeError, match="shape"):
        fitted.score_samples(blob)
    assert seen == [80]


def test_a_detector_works_on_each_device(make_detector, blob, zeros, device):
    for X in (blob, zeros):
        fitted = make_detector(device=device, n_steps=2).fit(X)
        assert fitted.device_.type == device
        assert {p.device.type for p in fitted.model_.parameters()} == {device}
        for method in ("score_samples", "reconstruct", "anomaly_map", "embed"):
            found = getattr(fitted, method)(X)
            assert found.dtype == np.float64
            assert np.isfinite(found).all()
        assert np.isfinite(fitted.sample(3)).all()


def test_a_pickle_from_each_device_opens_where_it_was_and_scores_the_same(
    make_detector, blob, device
):
    fitted = make_detector(device=device).fit(blob)
    stored = fitted.__getstate__()["model_"].state_dict()
    assert {value.device.type for value in stored.values()} == {"cpu"}
    opened = pickle.loads(pickle.dumps(fitted))
    assert opened.device_.type == device
    # One device, one kernel: the same bits.
    assert np.array_equal(opened.score_samples(blob), fitted.score_samples(blob))


def test_seeds_mean_the_same_first_weights_on_each_device(make_detector, blob, device):
    # One update with a step of nearly nothing: what differs is the first weights.
    first, second = (
        make_detector(device=d, max_iter=1, learning_rate=1e-12).fit(blob)
        for d in ("cpu", device)
    )
    for a, b in zip(first.model_.parameters(), second.model_.parameters(), strict=True):
        torch.testing.assert_close(a, b.cpu().to(a.dtype), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("named", ["cuda", "mps"])
def test_a_detector_whose_device_is_not_here_opens_on_the_cpu_with_a_warning(
    make_detector, blob, machine_with, named
):
    fitted = make_detector().fit(blob)
    scores = fitted.score_samples(blob)
    # As it comes from a machine with such a device: the state is on the CPU already.
    fitted.device = named
    stored = pickle.dumps(fitted)
    machine_with()
    with pytest.warns(
        DeviceFallbackWarning, match=rf"Opened on the CPU: device='{named}' is not"
    ):
        opened = pickle.loads(stored)
    assert opened.device_ == CPU
    assert opened.device == named
    assert np.array_equal(opened.score_samples(blob), scores)


def test_a_detector_fitted_elsewhere_with_auto_opens_in_silence(
    make_detector, blob, machine_with, recwarn
):
    fitted = make_detector().fit(blob)
    fitted.device = "auto"
    fitted.device_ = torch.device("cuda")  # as on the machine it comes from
    state = {**vars(fitted)}
    machine_with()
    recwarn.clear()
    opened = make_detector()
    opened.__setstate__(state)
    assert opened.device_ == CPU
    assert not recwarn.list
    assert np.isfinite(opened.score_samples(blob)).all()

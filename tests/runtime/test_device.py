import pickle
import re

import numpy as np
import pytest
import torch

from skanogan._runtime import device as device_module
from skanogan._runtime.device import (
    available_devices,
    chunk_length,
    is_out_of_memory,
    resolve_device,
    resolve_dtype,
)
from skanogan.detectors import _chunks
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
def test_auto_is_the_best_available_device(machine_with, machine, best):
    machine_with(**machine)
    assert resolve_device("auto") == torch.device(best)
    assert available_devices()[-1] == "cpu"


def test_an_environment_variable_excludes_devices(machine_with, monkeypatch):
    machine_with(cuda=1, mps=True)
    monkeypatch.setenv("SKANOGAN_EXCLUDE_DEVICES", "cuda,mps")
    assert available_devices() == ["cpu"]
    assert resolve_device("auto") == CPU


@pytest.mark.parametrize("device", ["cpu", CPU])
def test_an_available_device_may_be_a_name_or_a_torch_device(device):
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
def test_the_error_of_a_missing_device_names_the_available_ones(
    machine_with, device, machine
):
    machine_with(**machine)
    with pytest.raises(ValueError, match=r"not available .* device=\"auto\" .*'cpu'"):
        resolve_device(device)


@pytest.mark.parametrize("device", ["gpu", "", "cuda:x"])
def test_an_unknown_device_name_is_an_error(device):
    with pytest.raises(ValueError, match=r"is not a device\. Use device=\"auto\""):
        resolve_device(device)


@pytest.mark.parametrize(
    ("scoring_dtype", "is_image", "device", "dtype"),
    [
        ("auto", False, CPU, torch.float64),
        ("auto", True, CPU, torch.float32),
        ("auto", False, MPS, torch.float32),
        ("float64", True, CPU, torch.float64),
        ("float32", False, CPU, torch.float32),
    ],
)
def test_auto_scores_tables_in_float64_where_the_device_has_it(
    scoring_dtype, is_image, device, dtype
):
    assert resolve_dtype(scoring_dtype, is_image, device) == dtype


def test_the_error_of_float64_on_mps_names_two_remedies():
    with pytest.raises(ValueError, match=r"no float64\. Use .*float32.* or .*cpu"):
        resolve_dtype("float64", False, MPS)


def test_chunks_fit_into_the_allowed_memory(monkeypatch):
    monkeypatch.setattr(device_module, "MEMORY_BYTES", 8000)
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
def test_out_of_memory_errors_of_all_devices_are_recognised(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", [ValueError("out of memory"), RuntimeError("shape")])
def test_other_errors_are_not_out_of_memory_errors(error):
    assert not is_out_of_memory(error)


def fail_above(n_rows, error, seen):
    score = AnoGAN.score

    def limited(self, x):
        seen.append(len(x))
        if len(x) > n_rows:
            raise error
        return score(self, x)

    return limited


def test_scoring_continues_in_smaller_chunks_if_memory_runs_out(
    make_detector, blob, monkeypatch
):
    fitted = make_detector().fit(blob)
    expected = fitted.score_samples(blob)
    seen = []
    error = torch.cuda.OutOfMemoryError("CUDA out of memory.")
    monkeypatch.setattr(_chunks, "rows_of_tile", lambda: 8)
    monkeypatch.setattr(AnoGAN, "score", fail_above(12, error, seen))
    np.testing.assert_allclose(fitted.score_samples(blob), expected, rtol=1e-12)
    # Chunks are completed to multiples of a tile.
    assert seen[:4] == [80, 40, 24, 16]
    assert set(seen[4:]) == {8}


def test_a_single_row_that_does_not_fit_in_memory_is_an_error(
    make_detector, blob, monkeypatch
):
    fitted = make_detector().fit(blob)
    monkeypatch.setattr(AnoGAN, "score", fail_above(0, MemoryError("full"), []))
    with pytest.raises(MemoryError, match="full"):
        fitted.score_samples(blob)


def test_scoring_is_not_repeated_after_other_errors(make_detector, blob, monkeypatch):
    fitted = make_detector().fit(blob)
    seen = []
    monkeypatch.setattr(AnoGAN, "score", fail_above(0, RuntimeError("shape"), seen))
    with pytest.raises(RuntimeError, match="shape"):
        fitted.score_samples(blob)
    assert seen == [80]


def test_detectors_fit_and_score_on_each_device(make_detector, blob, zeros, device):
    for X in (blob, zeros):
        fitted = make_detector(device=device, n_steps=2).fit(X)
        assert fitted.device_.type == device
        assert {p.device.type for p in fitted.model_.parameters()} == {device}
        for method in ("score_samples", "reconstruct", "anomaly_map", "embed"):
            found = getattr(fitted, method)(X)
            assert found.dtype == np.float64
            assert np.isfinite(found).all()
        assert np.isfinite(fitted.sample(3)).all()


def test_a_pickle_is_loaded_on_the_device_of_the_fit_with_the_same_scores(
    make_detector, blob, device
):
    fitted = make_detector(device=device).fit(blob)
    stored = fitted.__getstate__()["model_"].state_dict()
    assert {value.device.type for value in stored.values()} == {"cpu"}
    opened = pickle.loads(pickle.dumps(fitted))
    assert opened.device_.type == device
    # The same kernels on the same device give the same bits.
    assert np.array_equal(opened.score_samples(blob), fitted.score_samples(blob))


def test_a_seed_gives_the_same_first_weights_on_each_device(
    make_detector, blob, device
):
    # One update with a tiny learning rate leaves the first weights.
    first, second = (
        make_detector(device=d, max_iter=1, learning_rate=1e-12).fit(blob)
        for d in ("cpu", device)
    )
    for a, b in zip(first.model_.parameters(), second.model_.parameters(), strict=True):
        torch.testing.assert_close(a, b.cpu().to(a.dtype), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("named", "machine"),
    [
        ("cuda", {}),
        ("mps", {}),
        ("cuda:1", {}),
        ("cuda:1", {"cuda": 1}),
        (torch.device("cuda", 1), {"cuda": 1}),
    ],
    ids=str,
)
def test_a_detector_of_a_missing_device_is_loaded_on_the_cpu_with_a_warning(
    make_detector, blob, machine_with, named, machine
):
    fitted = make_detector().fit(blob)
    scores = fitted.score_samples(blob)
    # A machine with this device writes such a pickle, with tensors on the CPU.
    fitted.device = named
    stored = pickle.dumps(fitted)
    machine_with(**machine)
    message = re.escape(f"on the CPU: device={named!r} is not available")
    with pytest.warns(DeviceFallbackWarning, match=message):
        opened = pickle.loads(stored)
    assert opened.device_ == CPU
    assert opened.device == named
    assert np.array_equal(opened.score_samples(blob), scores)


def test_a_detector_of_device_auto_is_loaded_on_the_cpu_without_a_warning(
    make_detector, blob, machine_with, recwarn
):
    fitted = make_detector().fit(blob)
    fitted.device = "auto"
    fitted.device_ = torch.device("cuda")  # as on the machine of the fit
    state = {**vars(fitted)}
    machine_with()
    recwarn.clear()
    opened = make_detector()
    opened.__setstate__(state)
    assert opened.device_ == CPU
    assert not recwarn.list
    assert np.isfinite(opened.score_samples(blob)).all()

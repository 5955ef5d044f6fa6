"""Versions and devices for a bug report."""

import importlib.metadata
import os
import platform

import torch

from skanogan._runtime.device import available_devices

__all__ = ["show_versions"]

PACKAGES = (
    "skanogan",
    "scikit-learn",
    "torch",
    "numpy",
    "scipy",
    "joblib",
    "safetensors",
    "tqdm",
    "matplotlib",
    "pandas",
    "dask",
)


def show_versions() -> None:
    """Print the versions of Python and the packages, and the devices."""
    print(f"python: {platform.python_version()} on {platform.platform()}")
    for name in PACKAGES:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = "not installed"
        print(f"{name}: {version}")
    print(f"cores: {os.cpu_count()}, torch threads: {torch.get_num_threads()}")
    print(f"devices: {', '.join(available_devices())}")
    for index in range(torch.cuda.device_count()):
        print(f"cuda:{index}: {torch.cuda.get_device_name(index)}")

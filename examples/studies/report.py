"""Text of a section: a title, the machine, and tables."""

import platform
from collections.abc import Sequence

import torch

__all__ = ["machine_line", "markdown", "section"]


def machine_line(device: "torch.device | None" = None) -> str:
    """Describe what a ratio may depend on: threads, torch, and the device.

    Parameters
    ----------
    device : torch.device, default=None
        The device. None is the CPU.

    Returns
    -------
    text : str
    """
    on = "CPU"
    if device is not None and device.type == "cuda":
        on = torch.cuda.get_device_name(device)
    elif device is not None and device.type != "cpu":
        on = device.type
    kernels = torch.backends.cpu.get_cpu_capability()
    return (
        f"On {on}; {torch.get_num_threads()} CPU threads, {platform.machine()} "
        f"{kernels}, torch {torch.__version__}."
    )


def markdown(header: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    """Format a Markdown table."""
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)


def section(title: str, *paragraphs: str) -> str:
    """Join a title and paragraphs by empty lines."""
    return "\n\n".join([f"## {title}", *paragraphs])

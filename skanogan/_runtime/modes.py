"""Shield computations from modes of torch that the caller has set."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

__all__ = ["own_modes"]


@contextmanager
def own_modes() -> Iterator[None]:
    """Compute in the dtypes and on the devices of the tensors, whatever is set.

    `torch.autocast` would round networks to 16 bits: scores of a detector that was
    fitted inside it differed by up to half of their range. `torch.set_default_device`
    would put new tensors on another device than the model.
    """
    with ExitStack() as modes:
        for kind in filter(torch.amp.is_autocast_available, ("cpu", "cuda", "mps")):
            if torch.is_autocast_enabled(kind):
                modes.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            modes.enter_context(torch.device("cpu"))
        yield

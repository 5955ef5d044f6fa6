"""A part of a model that `prepare_scoring` adds and a file can hold."""

from torch import nn

__all__ = ["Fixed"]


class Fixed(nn.Module):
    """Base class of parts that consist of tensors and numbers only.

    The constructor of a subclass takes all of them as keyword arguments. Each is stored
    under the name of its argument, so that `skanogan.load` can make the part again.
    """

"""Several networks of the same layers as one network, so that they train in one pass.

The rows of E members lie in one batch, in turns: row i belongs to member i mod E. Two
such batches joined, or a part of one that is a multiple of E, are such a batch again.
Whatever treats each row alone therefore does not notice the members. Only layers with
weights do, and multiply the rows of each member by its own weights, in one batched
product.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from skanogan.nn._autoencoder import AutoEncoder, Encoder
from skanogan.nn._networks import Stack, StackDiscriminator

__all__ = ["in_turns", "stacked"]

CONTAINERS = (
    *(nn.Sequential, nn.ModuleList),
    *(AutoEncoder, Encoder, Stack, StackDiscriminator),
)
"""Modules that have no weights of their own, and treat each row alone."""

ROW_WISE = (
    *(nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.SiLU, nn.GELU, nn.ELU),
    *(nn.Identity, nn.Flatten, nn.Unflatten),
)
"""Layers without weights that treat each row alone."""


class StackedLinear(nn.Module):
    """Linear layers of E members, from (n, inputs) to (n, outputs).

    Parameters
    ----------
    layers : sequence of torch.nn.Linear
        One for each member. Their weights are copied, to (E, outputs, inputs).
    """

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([x.weight.detach() for x in layers]))
        self.bias: nn.Parameter | None = None
        if all(layer.bias is not None for layer in layers):
            self.bias = nn.Parameter(torch.stack([x.bias.detach() for x in layers]))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer of each member to its rows."""
        n_members, n_out, n_in = self.weight.shape
        rows = x.view(-1, n_members, n_in).transpose(0, 1)
        weight = self.weight.transpose(1, 2)
        if self.bias is None:
            out = torch.bmm(rows, weight)
        else:
            out = torch.baddbmm(self.bias.unsqueeze(1), rows, weight)
        return out.transpose(0, 1).reshape(-1, n_out)


def stacked(networks: Sequence[nn.Module]) -> nn.Module | None:
    """Join networks of the same layers into one.

    Parameters
    ----------
    networks : sequence of torch.nn.Module
        One for each member. They are not changed.

    Returns
    -------
    network : torch.nn.Module or None
        Its state dict has the names of one network, and tensors of shape (E, ...). None
        if the networks have other layers than linear ones and activations.
    """
    first = networks[0]
    kind = type(first)
    if kind is nn.Linear:
        return StackedLinear(networks)  # type: ignore[arg-type]
    if kind in ROW_WISE:
        return copy.deepcopy(first)
    if kind not in CONTAINERS:
        return None
    whole = copy.deepcopy(first)
    for name, _ in first.named_children():
        child = stacked([network.get_submodule(name) for network in networks])
        if child is None:
            return None
        setattr(whole, name, child)
    return whole


def in_turns(x: Tensor, n_members: int) -> Tensor:
    """Complete a batch to a multiple of `n_members` rows by its own first rows.

    Parameters
    ----------
    x : Tensor of shape (n, ...)
        Rows. Row i belongs to member i mod `n_members`.
    n_members : int
        Number of members.

    Returns
    -------
    rows : Tensor of shape (m, ...)
        ``x``, and then its first rows again, so that each member has the same number.
    """
    n = len(x)
    whole = -(-n // n_members) * n_members
    if whole == n:
        return x
    return x[torch.arange(whole, device=x.device) % n]

"""Warm starts: continue from the weights and the records of the previous fit."""

from torch import nn

from skanogan.models import Ensemble

__all__ = ["continue_from", "records_after"]


def continue_from(first: Ensemble, ensemble: Ensemble) -> None:
    """Copy the weights of the first ensemble to one of the present parameters.

    A member or a network that only one of the two has is left as it is. ValueError is
    raised if a network that both have has other layers.
    """
    for before, member in zip(first.members, ensemble.members, strict=False):
        _continue(before, member)


def _continue(first: nn.Module, model: nn.Module) -> None:
    state = first.state_dict()
    for name, network in model.named_children():
        weights = {
            key.removeprefix(f"{name}."): value
            for key, value in state.items()
            if key.startswith(f"{name}.")
        }
        if not weights:
            continue
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(
                "warm_start=True continues with the same networks, but a parameter "
                f"that sets the layers of {name} has changed since the first fit. Use "
                "warm_start=False."
            ) from error


def records_after(
    before: list[dict[str, float]], history: list[dict[str, float]]
) -> list[dict[str, float]]:
    """Renumber the records of a fit that continues another."""
    last = before[-1] if before else {"n_iter": 0, "fit": 0}
    done, n_fits = last["n_iter"], last.get("fit", 1)
    return [
        {**record, "n_iter": done + record["n_iter"], "fit": n_fits + 1}
        for record in history
    ]

"""A fit that goes on from another: its weights, and its records after the other's."""

from skanogan.models import Model

__all__ = ["go_on_from", "records_after"]


def go_on_from(first: Model, model: Model) -> None:
    """Give a model, made by the parameters as they are now, the weights of the first.

    A network that only one of the two has is left as it is.

    Parameters
    ----------
    first, model : Model

    Raises
    ------
    ValueError
        If a network that both have has other layers.
    """
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
                "warm_start=True continues with the same networks: a parameter that "
                f"sets the layers of {name} has changed since the first fit. Use "
                "warm_start=False."
            ) from error


def records_after(
    before: list[dict[str, float]], history: list[dict[str, float]]
) -> list[dict[str, float]]:
    """Records of a fit after those that it went on from: updates and fits counted.

    Parameters
    ----------
    before, history : list of dict

    Returns
    -------
    records : list of dict
        As many as in `history`.
    """
    last = before[-1] if before else {"n_iter": 0, "fit": 0}
    done, n_fits = last["n_iter"], last.get("fit", 1)
    return [
        {**record, "n_iter": done + record["n_iter"], "fit": n_fits + 1}
        for record in history
    ]

"""A function of each row, applied to any number of rows in bounded memory."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from skanogan._device import chunk_length, is_out_of_memory, precision
from skanogan._inputs import Rows
from skanogan._threads import at_most_threads, at_work, threads_to_score
from skanogan.models import Model
from skanogan.models._exit import may_stop

__all__ = ["in_chunks", "to_numpy"]


@at_work()  # to the end of this frame, whose tensors are freed with it
def in_chunks(
    function: Callable[[Tensor], Tensor], model: Model, rows: Rows, scoring_dtype: str
) -> np.ndarray:
    """Apply a row-wise method of a model, chunk by chunk.

    Parameters
    ----------
    function : callable
        A method of `model`, from (n, d) or (n, C, H, W) to (n, ...).
    model : Model
        At rest.
    rows : Rows
        On the model's device.
    scoring_dtype : str
        The parameter of detectors, which may lower the precision of products.

    Returns
    -------
    found : ndarray of shape (n, ...), float64
        Images channels-last.
    """
    dtype = next(model.parameters()).dtype
    length = chunk_length(model.floats_per_row, dtype, rows.device)
    found: np.ndarray | None = None
    start = 0
    lowered = precision(scoring_dtype, rows.device)
    with torch.inference_mode(False), torch.no_grad(), lowered:
        while start < len(rows):
            may_stop()
            stop = min(start + length, len(rows))
            n_threads = threads_to_score(rows.row_shape, model.n_weights, stop - start)
            try:
                with at_most_threads(n_threads):
                    part = to_numpy(function(rows.stretch(start, stop)))
            except Exception as error:
                if not is_out_of_memory(error) or stop - start == 1:
                    raise
                length = (stop - start) // 2
                continue
            if found is None:
                found = np.empty((len(rows), *part.shape[1:]))
            found[start:stop] = part
            start = stop
    assert found is not None
    return found


def to_numpy(rows: Tensor) -> np.ndarray:
    """Any tensor as float64, images channels-last."""
    if rows.ndim == 4:
        rows = rows.permute(0, 2, 3, 1)
    return rows.cpu().to(torch.float64).numpy()

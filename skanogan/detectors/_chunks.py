"""Apply a row-wise function to any number of rows in bounded memory."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from skanogan._data.rows import Rows
from skanogan._runtime.device import chunk_length, is_out_of_memory
from skanogan._runtime.exit import may_stop
from skanogan._runtime.threads import at_most_threads, at_work, threads_to_score
from skanogan.models import Model
from skanogan.nn._products import rows_alike, rows_of_tile

__all__ = ["in_chunks", "to_numpy"]


@at_work()  # until this frame ends, because its tensors are freed with it
def in_chunks(
    function: Callable[[Tensor], Tensor], model: Model, rows: Rows
) -> np.ndarray:
    """Apply a row-wise method to rows in chunks, in smaller ones if memory runs out."""
    dtype = next(model.parameters()).dtype
    length = chunk_length(model.floats_per_row, dtype, rows.device)
    length = max(length - length % rows_of_tile(), 1)
    found: np.ndarray | None = None
    start = 0
    with torch.inference_mode(False), torch.no_grad():
        while start < len(rows):
            may_stop()
            stop = min(start + length, len(rows))
            n_threads = threads_to_score(rows.row_shape, model.n_weights, stop - start)
            try:
                with at_most_threads(n_threads), rows_alike(rows.device):
                    part = to_numpy(function(_completed(rows.stretch(start, stop))))
            except Exception as error:
                if not is_out_of_memory(error) or stop - start == 1:
                    raise
                length = (stop - start) // 2
                continue
            if found is None:
                found = np.empty((len(rows), *part.shape[1:]))
            found[start:stop] = part[: stop - start]
            start = stop
    assert found is not None
    return found


def _completed(rows: Tensor) -> Tensor:
    """Repeat the last row of a table on a CPU, so that no product completes its rows.

    A few rows are then scored in two thirds of the time. More images would take longer.
    """
    if rows.ndim != 2 or rows.device.type != "cpu":
        return rows
    more = -len(rows) % rows_of_tile()
    return torch.cat((rows, rows[-1:].expand(more, -1))) if more else rows


def to_numpy(rows: Tensor) -> np.ndarray:
    """Convert a tensor to a float64 array, images with channels last."""
    if rows.ndim == 4:
        rows = rows.permute(0, 2, 3, 1)
    return rows.cpu().to(torch.float64).numpy()

"""The file of a detector: bytes to a description and tensors, and back.

A safetensors file, whose one entry of metadata is a description in JSON. The first
thing in it is a SHA-256 of the whole file, taken with zeros in its own place: a bit
that changes anywhere is noticed. That is against damage. Whoever alters a file on
purpose can also write the digest that belongs to it; what is read is therefore taken
for numbers and text, and nothing else.
"""

import hashlib
import json
import math
import os
import stat
from collections.abc import Iterable
from typing import Any, NoReturn

import safetensors.torch
from torch import Tensor

from skanogan.exceptions import ModelFileError

__all__ = ["HEADER_BYTES", "pack", "read", "seal", "unpack"]

HEADER_BYTES = 8 * 2**20
"""Most that names, shapes and the description may take: 100,000 columns with names of
40 letters, or 50,000 tensors. It bounds what is parsed before anything is compared."""

KEY = "skanogan"
"""The one entry of the metadata."""

START = rb'{"__metadata__":{"skanogan":"{\"sha256\":\"'
"""Of the header, after the eight bytes of its length and before the digest."""

DIGEST = slice(8 + len(START), 8 + len(START) + 64)

NO_DIGEST = b"0" * 64

LARGEST = 2**63
"""Of integers in the description."""

DAMAGED = "Take an undamaged copy, or save the detector again."


def pack(description: dict[str, Any], tensors: dict[str, Tensor]) -> bytes:
    """The bytes of a file.

    Parameters
    ----------
    description : dict
        Of what JSON knows.
    tensors : dict of str to Tensor
        By name, on any device. They are copied: torch may let them share memory, which
        the format does not know.

    Returns
    -------
    content : bytes
        The same for the same description and tensors.

    Raises
    ------
    ValueError
        If a number is not finite, or the names are more than `HEADER_BYTES`.
    """
    whole = {"sha256": NO_DIGEST.decode(), **description}
    text = json.dumps(whole, allow_nan=False, separators=(",", ":"))
    alone = {
        name: tensor.detach().to("cpu", copy=True).contiguous()
        for name, tensor in tensors.items()
    }
    content = safetensors.torch.save(alone, {KEY: text})
    if _header_length(content) > HEADER_BYTES:
        raise ValueError(
            f"The names of columns and tensors take more than {HEADER_BYTES} bytes, "
            "which skanogan.load would not read: give the columns shorter names."
        )
    return seal(content)


def seal(content: bytes) -> bytes:
    """The same file with the digest that belongs to it."""
    return b"".join(
        (content[: DIGEST.start], _digest(content), memoryview(content)[DIGEST.stop :])
    )


def read(path: "str | os.PathLike[str]") -> bytes:
    """The content of a file, unless its first bytes are those of another thing.

    Raises
    ------
    ModelFileError
        If they are.
    OSError
        If there is no such file, or it may not be read.
    """
    # A pipe would keep us waiting for whoever writes to it.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ModelFileError("It is no regular file.")
    with open(path, "rb") as file:
        _check_start(file.read(DIGEST.stop))
        file.seek(0)
        return file.read()


def unpack(content: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The description and the tensors of a file.

    Memory stays below a few times the length of the content, and 400 MB for the
    description.

    Raises
    ------
    ModelFileError
        If the content is damaged, or not what `pack` makes.
    """
    _check_start(content)
    if content[DIGEST] != _digest(content):
        raise ModelFileError(f"Its content is not what was written. {DAMAGED}")
    header = _parsed(content[8 : 8 + _header_length(content)])
    metadata = header["__metadata__"]
    if not isinstance(metadata, dict) or list(metadata) != [KEY]:
        raise ModelFileError(f"Its metadata has other entries than {KEY!r}. {DAMAGED}")
    description = _parsed(metadata[KEY])
    del description["sha256"]
    try:
        # Offsets, overlaps, gaps and lengths are checked there.
        tensors = safetensors.torch.load(content)
    except Exception as error:
        raise ModelFileError(
            f"Its tensors do not fit its length ({error}). {DAMAGED}"
        ) from error
    return description, tensors


def _digest(content: bytes) -> bytes:
    digest = hashlib.sha256(content[: DIGEST.start] + NO_DIGEST)
    digest.update(memoryview(content)[DIGEST.stop :])
    return digest.hexdigest().encode()


def _header_length(content: bytes) -> int:
    return int.from_bytes(content[:8], "little")


def _check_start(content: bytes) -> None:
    is_ours = content[8 : DIGEST.start] == START and len(content) >= DIGEST.stop
    if not is_ours or _header_length(content) > HEADER_BYTES:
        raise ModelFileError(
            "It does not begin as what detector.save writes. Pickles are opened with "
            "joblib.load or pickle.load, if they come from someone you trust: they can "
            "execute anything."
        )


# JSON without its traps ---------------------------------------------------------


def _parsed(text: "bytes | Any") -> dict[str, Any]:
    """A JSON object, each key of it once, with finite numbers."""
    try:
        value = json.loads(
            text,
            object_pairs_hook=_without_duplicates,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_of_64_bits,
        )
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelFileError(f"It has no readable JSON ({error}). {DAMAGED}") from error
    if not isinstance(value, dict):
        raise ModelFileError(f"Its description is no JSON object. {DAMAGED}")
    return value


def _without_duplicates(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{key!r} is there twice")
        found[key] = value
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:20]} is not finite")
    return value


def _of_64_bits(digits: str) -> int:
    # Looked at before they are converted, which takes time that grows with the square.
    if len(digits) > 20 or not -LARGEST <= int(digits) < LARGEST:
        raise ValueError(f"{digits[:20]}... is beyond 64 bits")
    return int(digits)

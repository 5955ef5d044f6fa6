"""The container of a detector: a description and tensors to bytes, and back.

The container is a safetensors file. Its metadata has one entry, a description in JSON,
which begins with a SHA-256 digest of the whole file. The digest is computed with zeros
in its own place. It detects damage: a changed bit anywhere in the file is noticed. It
does not detect forgery, because a forger can compute the digest as well. The content is
therefore read as numbers and text only.
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
"""Largest size of names, shapes and the description. 100,000 columns with names of 40
letters fit, or 50,000 tensors. It bounds what is parsed before anything is compared."""

KEY = "skanogan"
"""The only entry of the metadata."""

START = rb'{"__metadata__":{"skanogan":"{\"sha256\":\"'
"""The header between the eight bytes of its length and the digest."""

DIGEST = slice(8 + len(START), 8 + len(START) + 64)

NO_DIGEST = b"0" * 64

LARGEST = 2**63
"""Integers of the description lie below it."""

DAMAGED = "Use an undamaged copy, or save the detector again."


def pack(description: dict[str, Any], tensors: dict[str, Tensor]) -> bytes:
    """Make the bytes of a file from a description (for JSON) and tensors.

    The bytes are the same for the same input. Tensors are copied, because the format
    does not know tensors that share memory. ValueError is raised if a number is not
    finite, or names and description are longer than `HEADER_BYTES`.
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
            f"The names of columns and tensors take {_header_length(content)} bytes. "
            f"At most {HEADER_BYTES} are allowed. Give the columns shorter names."
        )
    return seal(content)


def seal(content: bytes) -> bytes:
    """Return the file with the digest of its content."""
    return b"".join(
        (content[: DIGEST.start], _digest(content), memoryview(content)[DIGEST.stop :])
    )


def read(path: "str | os.PathLike[str]") -> bytes:
    """Read a file, unless its first bytes are those of another format."""
    # Reading from a pipe would wait for its writer.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ModelFileError("It is not a regular file.")
    with open(path, "rb") as file:
        _check_start(file.read(DIGEST.stop))
        file.seek(0)
        return file.read()


def unpack(content: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Split the content of a file into its description and tensors.

    Memory stays below a few times the length of the content, and 400 MB for the
    description. ModelFileError is raised if the content is damaged, or not what `pack`
    makes.
    """
    _check_start(content)
    if content[DIGEST] != _digest(content):
        raise ModelFileError(f"Its content differs from its digest. {DAMAGED}")
    header = _parsed(content[8 : 8 + _header_length(content)])
    metadata = header["__metadata__"]
    if not isinstance(metadata, dict) or list(metadata) != [KEY]:
        raise ModelFileError(f"Its metadata must have one entry, {KEY!r}. {DAMAGED}")
    description = _parsed(metadata[KEY])
    del description["sha256"]
    try:
        # safetensors checks offsets, overlaps, gaps and lengths.
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
            "It is not a file that detector.save wrote. If it is a pickle and you "
            "trust its author, use joblib.load or pickle.load: a pickle can execute "
            "any code."
        )


# Strict JSON --------------------------------------------------------------------


def _parsed(text: "bytes | Any") -> dict[str, Any]:
    """Parse a JSON object of unique keys and finite numbers."""
    try:
        value = json.loads(
            text,
            object_pairs_hook=_without_duplicates,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_of_64_bits,
        )
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelFileError(f"Its JSON is not valid ({error}). {DAMAGED}") from error
    if not isinstance(value, dict):
        raise ModelFileError(f"Its description is not a JSON object. {DAMAGED}")
    return value


def _without_duplicates(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} occurs twice")
        found[key] = value
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:20]} is not finite")
    return value


def _of_64_bits(digits: str) -> int:
    # Converting n digits takes a time that grows with n squared.
    if len(digits) > 20 or not -LARGEST <= int(digits) < LARGEST:
        raise ValueError(f"{digits[:20]}... does not fit into 64 bits")
    return int(digits)

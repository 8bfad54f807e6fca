"""Named float arrays and JSON metadata in a safetensors file, read back trusting nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from backendmlp.digests import digest
from backendmlp.files import StrPath, read_bounded, write_atomically
from backendmlp.strictjson import JSONError, from_json, show, to_json

HEADER_LIMIT = 1 << 20
FILE_LIMIT = 1 << 30

_DTYPES = {"F32", "F64"}  # as safetensors spells them
_SEAL = "sha256"
_NOT_OURS = "choose a file that backendmlp has written"
_DAMAGED = "copy it again from where it was made"


class TensorFileError(ValueError):
    """What is wrong with the file and what to do, to be prefixed with its name."""


def save_tensors(
    path: StrPath,
    tensors: dict[str, np.ndarray],
    key: str,
    metadata: dict[str, Any],
    file_limit: int = FILE_LIMIT,
    header_limit: int = HEADER_LIMIT,
    *,
    sealed: bool = False,
) -> None:
    """Write ``tensors`` and, under ``key``, ``metadata``; the same content gives the same bytes.

    What is ``sealed`` has another entry, ``sha256``, of all of it, which is checked when it is
    read.

    Raises :class:`TensorFileError`, with nothing written, for what could not be loaded again, and
    :class:`InputError` where the file cannot be written.
    """
    from safetensors.numpy import save

    try:
        text = to_json(metadata)
    except JSONError as error:
        raise TensorFileError(f"has metadata that {error}") from error
    # safetensors takes arrays by their memory, so it must lie as the shape says.
    contiguous = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    if sealed:  # behind the rest, which is not made into text twice
        text = f"{text[:-1]}{_seal(text, contiguous)}"
    data = save(contiguous, metadata={key: text})
    if int.from_bytes(data[:8], "little") > header_limit or len(data) > file_limit:
        raise TensorFileError(
            f"is too large to be loaded again: at most {header_limit:,} bytes of metadata and "
            f"{file_limit:,} in all; make it smaller"
        )
    write_atomically(path, data)


def load_tensors(
    path: StrPath,
    key: str,
    file_limit: int = FILE_LIMIT,
    header_limit: int = HEADER_LIMIT,
    check: Callable[[dict[str, Any]], None] = lambda metadata: None,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Fresh, writable arrays and the metadata that :func:`save_tensors` wrote under ``key``.

    ``check`` sees the metadata before the tensors are looked at: a newer format is named as such,
    whatever else it may hold.

    Raises :class:`TensorFileError` for a file that is damaged or of another kind, and
    :class:`InputError` for one that cannot be read or has more than ``file_limit`` bytes.
    """
    _refuse_claim(read_bounded(path, file_limit, first=8), header_limit)
    data = read_bounded(path, file_limit)
    text, metadata = _read_header(_header_bytes(data, header_limit), key, check)
    tensors = _read_tensors(data)
    if metadata.pop(_SEAL, None) is not None:
        seal = len(_seal("", {}))
        if _seal(f"{text[:-seal]}}}", tensors) != text[-seal:]:
            raise TensorFileError(f"is damaged: its {_SEAL} is not that of its content; {_DAMAGED}")
    return tensors, metadata


def _seal(text: str, tensors: dict[str, np.ndarray]) -> str:
    """The end of the JSON object ``text`` in its stead: an entry more, of it and ``tensors``."""
    both = f"{text}\n{digest(tensors)}".encode(errors="surrogatepass")
    return f', "{_SEAL}": "{hashlib.sha256(both).hexdigest()}"}}'


def _refuse_claim(start: bytes, limit: int) -> int:
    """The length that the header claims in the file's first 8 bytes."""
    claimed = int.from_bytes(start[:8], "little")
    if start.lstrip()[:1] == b"{":
        raise TensorFileError(
            "is JSON, a receipt perhaps, and no file of weights; give the safetensors file, or the "
            "folder of a run"
        )
    if start[:4] == b"PK\3\4":
        raise TensorFileError(
            "is an archive, of data perhaps, and no file of weights; give the safetensors file, or "
            "the folder of a run"
        )
    if len(start) >= 8 and claimed > limit:
        raise TensorFileError(f"is not backendmlp's, or damaged at its start; {_NOT_OURS}")
    return claimed


def _header_bytes(data: bytes, limit: int) -> bytes:
    """The JSON between the 8 bytes that give its length and the tensors' values."""
    claimed = _refuse_claim(data, limit)
    if len(data) < 8 + claimed or not claimed:
        raise TensorFileError(
            f"is cut short or not backendmlp's: it has {len(data):,} bytes; {_DAMAGED}"
        )
    return data[8 : 8 + claimed]


def _read_header(
    text: bytes, key: str, check: Callable[[dict[str, Any]], None]
) -> tuple[str, dict[str, Any]]:
    """Our metadata, as text and as it reads, out of a header whose tensors are all floats."""
    try:
        header = from_json(text)
        entries = header.pop("__metadata__", None)
        inner = entries.get(key) if isinstance(entries, dict) else None
        if not isinstance(inner, str):
            raise TensorFileError(
                f"is not backendmlp's, or of another kind than asked for; {_NOT_OURS}"
            )
        metadata = from_json(inner.encode(errors="surrogatepass"))
    except JSONError as error:
        raise TensorFileError(f"has a header that {error}") from error
    check(metadata)
    for name, tensor in header.items():
        dtype = tensor.get("dtype") if isinstance(tensor, dict) else None
        if not isinstance(dtype, str) or dtype not in _DTYPES:
            raise TensorFileError(
                f"has {show(name)} of dtype {show(dtype)}, not F32 or F64; {_NOT_OURS}"
            )
    return inner, metadata


def _read_tensors(data: bytes) -> dict[str, np.ndarray]:
    """Copies of the tensors; safetensors checks that their extents fill the file exactly."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return {name: np.array(tensor) for name, tensor in load(data).items()}
    except (SafetensorError, ValueError) as error:  # NumPy too limits the shape, even of nothing
        raise TensorFileError(
            f"is cut short or damaged ({show(str(error))}); {_DAMAGED}"
        ) from error

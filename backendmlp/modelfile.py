"""A trained network as a safetensors file, and the way back, which trusts nothing it reads.

The file holds the tensors ``W1`` (F, H), ``b1`` (H,), ``W2`` (H, C) and ``b2`` (C,), all float32
or all float64, and one metadata entry ``"backendmlp"``: the JSON text of ``{"format": 1,
"config": {...}, "class_names": [C names], "image_shape": [rows, columns]}``, rows * columns = F.
"""

from __future__ import annotations

import json
import math
import reprlib
import unicodedata
from typing import Any

import numpy as np

from backendmlp.errors import InputError
from backendmlp.files import StrPath, read_bounded, write_atomically

FORMAT = 1
FILE_LIMIT = 1 << 30
HEADER_LIMIT = 1 << 20

_NAMES = ("W1", "b1", "W2", "b2")
_DTYPES = {"F32", "F64"}  # as safetensors spells them
_NOT_OURS = "choose a file that backendmlp has written"
_DAMAGED = "copy it again from where it was made"

_REPR = reprlib.Repr()  # cuts what a hostile file would print by the megabyte
_REPR.maxstring = 80
_show = _REPR.repr


class _ModelError(Exception):
    """What is wrong with a model and what to do, to be prefixed with the file's name."""


def save_model(path: StrPath, parameters: dict[str, np.ndarray], metadata: dict[str, Any]) -> None:
    """Write a model to ``path``, atomically; the same model gives the same bytes.

    ``parameters`` holds the four arrays and ``metadata`` at least ``config`` (a dict for JSON),
    ``class_names`` and ``image_shape``, as the module's docstring says; the format number is added
    here.  Raises :class:`InputError`, with nothing written, for whatever :func:`load_model` would
    refuse and where the file cannot be written.
    """
    from safetensors.numpy import save

    try:
        text = _to_json({**metadata, "format": FORMAT})
        _check_metadata(json.loads(text), _check_parameters(parameters))
        # safetensors takes arrays by their memory, so it must lie as the shape says.
        tensors = {name: np.ascontiguousarray(parameters[name]) for name in _NAMES}
        data = save(tensors, metadata={"backendmlp": text})
        if len(data) > FILE_LIMIT or int.from_bytes(data[:8], "little") > HEADER_LIMIT:
            raise _ModelError("is too large to be loaded again; at most 1 GiB, metadata 1 MiB")
    except _ModelError as error:
        raise InputError(f"cannot save the model {str(path)!r}: it {error}") from error
    write_atomically(path, data)


def load_model(path: StrPath) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The parameters and metadata that :func:`save_model` wrote to ``path``.

    The arrays are fresh, writable and bitwise those that were saved; the metadata come without the
    format number.  Raises :class:`InputError` for a file that cannot be read, that is damaged, of
    another kind or of a newer format, or whose parts do not fit one another.
    """
    data = read_bounded(path, FILE_LIMIT)
    try:
        metadata = _read_header(data)
        parameters = _read_tensors(data)
        _check_metadata(metadata, _check_parameters(parameters))
    except _ModelError as error:
        raise InputError(f"model file {str(path)!r} {error}") from error
    del metadata["format"]
    return parameters, metadata


def _read_header(data: bytes) -> dict[str, Any]:
    """Our metadata, out of a header that names our four tensors and nothing else."""
    header = _from_json(_header_bytes(data), "header")
    entries = header.pop("__metadata__", None)
    text = entries.get("backendmlp") if isinstance(entries, dict) else None
    if not isinstance(text, str):
        raise _ModelError(f"holds a model that is not backendmlp's; {_NOT_OURS}")
    metadata = _from_json(text.encode(errors="surrogatepass"), "metadata")
    _check_format(metadata.get("format"))
    if set(header) != set(_NAMES):
        raise _ModelError(f"holds the tensors {_show(sorted(header))}, not {_NAMES}; {_NOT_OURS}")
    for name, tensor in header.items():
        dtype = tensor.get("dtype") if isinstance(tensor, dict) else None
        if not isinstance(dtype, str) or dtype not in _DTYPES:
            raise _ModelError(f"has {name} of dtype {_show(dtype)}, not F32 or F64; {_NOT_OURS}")
    return metadata


def _header_bytes(data: bytes) -> bytes:
    """The JSON between the 8 bytes that give its length and the tensors' values."""
    claimed = int.from_bytes(data[:8], "little")
    if len(data) >= 8 and claimed > HEADER_LIMIT:
        raise _ModelError(f"is not a model: its header claims {claimed:,} bytes; {_NOT_OURS}")
    if len(data) < 8 + claimed or not claimed:
        raise _ModelError(f"is cut short or not a model: it has {len(data):,} bytes; {_DAMAGED}")
    return data[8 : 8 + claimed]


def _read_tensors(data: bytes) -> dict[str, np.ndarray]:
    """Copies of the tensors; safetensors checks that their extents fill the file exactly."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return {name: np.array(tensor) for name, tensor in load(data).items()}
    except SafetensorError as error:
        raise _ModelError(f"is cut short or damaged ({_show(str(error))}); {_DAMAGED}") from error


def _check_format(number: object) -> None:
    if type(number) is not int or number < 1:
        raise _ModelError(f"has no valid format number but {_show(number)}; {_NOT_OURS}")
    if number > FORMAT:
        raise _ModelError(f"was written by a newer backendmlp (format {number}); update yours")


def _check_parameters(parameters: dict[str, np.ndarray]) -> tuple[int, int]:
    """Refuse arrays that are no network; otherwise (F, C), its features and classes."""
    if set(parameters) != set(_NAMES):
        raise _ModelError(f"has the arrays {_show(sorted(parameters))}; it needs {_NAMES}")
    W1, b1, W2, b2 = (parameters[name] for name in _NAMES)
    dtypes = {array.dtype for array in (W1, b1, W2, b2)}
    if dtypes not in ({np.dtype(np.float32)}, {np.dtype(np.float64)}):
        found = ", ".join(sorted(map(str, dtypes)))
        raise _ModelError(f"has dtypes {found}; all four must be float32, or all float64")
    fit = b1.shape == W1.shape[1:] == W2.shape[:1] and b2.shape == W2.shape[1:]
    if not fit or W1.ndim != 2 or W2.ndim != 2 or 0 in W1.shape + W2.shape:
        found = ", ".join(f"{name} {parameters[name].shape}" for name in _NAMES)
        raise _ModelError(f"has shapes that do not fit one another: {found}; train it anew")
    for name in _NAMES:
        if not np.isfinite(parameters[name]).all():
            raise _ModelError(f"has NaN or infinite values in {name}; train it anew")
    return W1.shape[0], b2.shape[0]


def _check_metadata(metadata: dict[str, Any], sizes: tuple[int, int]) -> None:
    features, classes = sizes
    if not isinstance(metadata.get("config"), dict):
        raise _ModelError(f"has no config in its metadata; {_NOT_OURS}")
    names = metadata.get("class_names")
    if not isinstance(names, list) or len(names) != classes or not all(map(_is_name, names)):
        raise _ModelError(
            f"has class_names {_show(names)}; they must be a list of {classes} printable texts, "
            "one for each class"
        )
    shape = metadata.get("image_shape")
    if not isinstance(shape, list) or not _is_area(shape, features):
        raise _ModelError(
            f"has image_shape {_show(shape)}; it must be [rows, columns], "
            f"with rows * columns = {features} features"
        )


def _is_name(name: Any) -> bool:
    """Text that a terminal may be shown: no control characters, no halves of surrogate pairs."""
    text = name.strip() if isinstance(name, str) else ""
    return text != "" and not any(unicodedata.category(c) in ("Cc", "Cs") for c in name)


def _is_area(shape: list[Any], size: int) -> bool:
    whole = all(type(length) is int and length > 0 for length in shape)
    return whole and len(shape) == 2 and math.prod(shape) == size


def _to_json(metadata: dict[str, Any]) -> str:
    try:
        return json.dumps(metadata, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise _ModelError(f"has metadata that JSON cannot hold ({error})") from error


def _from_json(text: bytes, what: str) -> dict[str, Any]:
    """The JSON object in ``text``, read strictly: UTF-8, no key twice, no NaN, no depth bombs."""
    try:
        value = json.loads(
            text.decode(), object_pairs_hook=_without_repeats, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        raise _ModelError(f"has a damaged {what} ({_show(str(error))}); {_DAMAGED}") from error
    if not isinstance(value, dict):
        raise _ModelError(f"has a {what} that is no JSON object; {_NOT_OURS}")
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key appears twice")
    return dict(pairs)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")

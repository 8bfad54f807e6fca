"""A trained network as a safetensors file, and the way back, which trusts nothing it reads.

The file holds the tensors ``W1`` (F, H), ``b1`` (H,), ``W2`` (H, C) and ``b2`` (C,), all float32
or all float64, and one metadata entry ``"backendmlp"``: the JSON text of ``{"format": 1,
"config": {...}, "class_names": [C names], "image_shape": [lengths]}``; the lengths, [rows, columns]
for pictures, multiply to F.  It may also hold ``"data"``, the name, path and SHA-256 of the data as
in a receipt, and ``"definition"``, the number of the computation's definition.

A model of settled features has format 2 and a fifth tensor ``unit`` (F,): float64, the power of two
that one of each feature is worth.
"""

from __future__ import annotations

import math
import unicodedata
from typing import Any

import numpy as np

from backendmlp.errors import InputError
from backendmlp.files import StrPath
from backendmlp.runs.record import parse_data
from backendmlp.strictjson import JSONError, from_json, show, to_json
from backendmlp.tensorfile import TensorFileError, load_tensors, save_tensors

FORMAT = 2

_KEY = "backendmlp"
_NAMES = ("W1", "b1", "W2", "b2")
_UNIT = "unit"  # the fifth tensor, in format 2
_UNITS = 2.0**-467, 2.0**433  # the least and the largest that features are settled in
_MOST_DIMENSIONS = 64  # of NumPy's arrays
_LONGEST_TEXT = 1 << 15  # of a path, or of the name of a data set
_NOT_OURS = "choose a file that backendmlp has written"


def save_model(path: StrPath, parameters: dict[str, np.ndarray], metadata: dict[str, Any]) -> None:
    """Write a model to ``path``, atomically; the same model gives the same bytes.

    ``parameters`` holds the four arrays, and ``unit`` where features were settled; ``metadata`` at
    least ``config`` (a dict for JSON), ``class_names`` and ``image_shape``, as the module's
    docstring says; the format number is added here.  Raises :class:`InputError`, with nothing
    written, for whatever :func:`load_model` would refuse and where the file cannot be written.
    """
    try:
        # Checked as it will be read: JSON turns tuples into lists, and refuses what it cannot hold.
        number = 2 if _UNIT in parameters else 1
        described = from_json(to_json({**metadata, "format": number}).encode())
        _check_metadata(described, _check_parameters(parameters, number))
        save_tensors(path, {name: parameters[name] for name in _names(number)}, _KEY, described)
    except (TensorFileError, JSONError) as error:
        raise InputError(f"cannot save the model {str(path)!r}: it {error}") from error


def load_model(path: StrPath) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The parameters and metadata that :func:`save_model` wrote to ``path``.

    The arrays are fresh, writable and bitwise those that were saved; the metadata come without the
    format number.  Raises :class:`InputError` for a file that cannot be read, that is damaged, of
    another kind or of a newer format, or whose parts do not fit one another.
    """
    try:
        parameters, metadata = load_tensors(path, _KEY, check=_check_format)
        _check_metadata(metadata, _check_parameters(parameters, metadata["format"]))
    except TensorFileError as error:
        raise InputError(f"model file {str(path)!r} {error}") from error
    del metadata["format"]
    return parameters, metadata


def _check_format(metadata: dict[str, Any]) -> None:
    number = metadata.get("format")
    if type(number) is not int or number < 1:
        raise TensorFileError(f"has no valid format number but {show(number)}; {_NOT_OURS}")
    if number > FORMAT:
        raise TensorFileError(
            f"was written by a newer backendmlp (format {show(number)}); update yours"
        )


def _names(number: int) -> tuple[str, ...]:
    """The tensors of a file of format ``number``."""
    return (*_NAMES, _UNIT) if number > 1 else _NAMES


def _check_parameters(parameters: dict[str, np.ndarray], number: int) -> tuple[int, int]:
    """Refuse arrays that are no network; otherwise (F, C), its features and classes."""
    names = _names(number)
    if set(parameters) != set(names):
        raise TensorFileError(f"has the arrays {show(sorted(parameters))}; it needs {names}")
    W1, b1, W2, b2 = (parameters[name] for name in _NAMES)
    dtypes = {array.dtype for array in (W1, b1, W2, b2)}
    if dtypes not in ({np.dtype(np.float32)}, {np.dtype(np.float64)}):
        found = ", ".join(sorted(map(str, dtypes)))
        raise TensorFileError(f"has dtypes {found}; all four must be float32, or all float64")
    fit = b1.shape == W1.shape[1:] == W2.shape[:1] and b2.shape == W2.shape[1:]
    if not fit or W1.ndim != 2 or W2.ndim != 2 or 0 in W1.shape + W2.shape:
        found = ", ".join(f"{name} {parameters[name].shape}" for name in _NAMES)
        raise TensorFileError(f"has shapes that do not fit one another: {found}; train it anew")
    for name in _NAMES:
        if not np.isfinite(parameters[name]).all():
            raise TensorFileError(f"has NaN or infinite values in {name}; train it anew")
    if number > 1:
        _check_unit(parameters[_UNIT], W1)
    return W1.shape[0], b2.shape[0]


def _check_unit(unit: np.ndarray, W1: np.ndarray) -> None:
    if unit.shape != W1.shape[:1] or not unit.dtype == W1.dtype == np.float64:
        raise TensorFileError(
            f"has a unit of shape {unit.shape} and dtype {unit.dtype} beside weights of dtype "
            f"{W1.dtype}; it must be float64 ({W1.shape[0]},), and so must they be"
        )
    low, high = _UNITS
    # A NaN fails every comparison; the mantissa of a power of two is one half.
    if not ((unit >= low) & (unit <= high) & (np.frexp(unit)[0] == 0.5)).all():
        raise TensorFileError("has a unit that is no power of two; train it anew")


def _check_metadata(metadata: dict[str, Any], sizes: tuple[int, int]) -> None:
    features, classes = sizes
    if not isinstance(metadata.get("config"), dict):
        raise TensorFileError(f"has no config in its metadata; {_NOT_OURS}")
    names = metadata.get("class_names")
    if not isinstance(names, list) or len(names) != classes or not all(map(_is_name, names)):
        raise TensorFileError(
            f"has class_names {show(names)}; they must be a list of {classes} printable texts, "
            "one for each class"
        )
    shape = metadata.get("image_shape")
    if not isinstance(shape, list) or not _is_shape(shape, features):
        raise TensorFileError(
            f"has image_shape {show(shape)}; it must be a list of lengths, as [rows, columns] of a "
            f"picture, that multiply to its {features} features"
        )
    if "data" in metadata:
        _check_data(metadata["data"])
    number = metadata.get("definition", 1)
    if type(number) is not int or not 1 <= number < 1000:
        raise TensorFileError(f"has no valid definition number but {show(number)}; {_NOT_OURS}")


def _check_data(data: Any) -> None:
    """Refuse what does not say which data the model was trained on: see :mod:`.record`."""
    if not isinstance(data, dict) or any(
        isinstance(value, str) and len(value) > _LONGEST_TEXT for value in data.values()
    ):
        raise TensorFileError(f"has data {show(data)}; {_NOT_OURS}")
    try:
        parse_data(data)
    except InputError as error:
        raise TensorFileError(f"has data that cannot be understood: {error}") from error


def _is_name(name: Any) -> bool:
    """Text that a terminal may be shown: no control characters, no halves of surrogate pairs."""
    text = name.strip() if isinstance(name, str) else ""
    return text != "" and not any(unicodedata.category(c) in ("Cc", "Cs") for c in name)


def _is_shape(shape: list[Any], size: int) -> bool:
    whole = all(type(length) is int and length > 0 for length in shape)
    return whole and 0 < len(shape) < _MOST_DIMENSIONS and math.prod(shape) == size

"""A trained network as a safetensors file, and the way back, which trusts nothing it reads.

The file holds the tensors ``W1`` (F, H), ``b1`` (H,), ``W2`` (H, C) and ``b2`` (C,), all float32
or all float64, and one metadata entry ``"backendmlp"``: the JSON text of ``{"format": 1,
"config": {...}, "class_names": [C names], "image_shape": [rows, columns]}``, rows * columns = F.
"""

from __future__ import annotations

import math
import unicodedata
from typing import Any

import numpy as np

from backendmlp.errors import InputError
from backendmlp.files import StrPath
from backendmlp.strictjson import JSONError, from_json, show, to_json
from backendmlp.tensorfile import TensorFileError, load_tensors, save_tensors

FORMAT = 1

_KEY = "backendmlp"
_NAMES = ("W1", "b1", "W2", "b2")
_NOT_OURS = "choose a file that backendmlp has written"


def save_model(path: StrPath, parameters: dict[str, np.ndarray], metadata: dict[str, Any]) -> None:
    """Write a model to ``path``, atomically; the same model gives the same bytes.

    ``parameters`` holds the four arrays and ``metadata`` at least ``config`` (a dict for JSON),
    ``class_names`` and ``image_shape``, as the module's docstring says; the format number is added
    here.  Raises :class:`InputError`, with nothing written, for whatever :func:`load_model` would
    refuse and where the file cannot be written.
    """
    try:
        # Checked as it will be read: JSON turns tuples into lists, and refuses what it cannot hold.
        described = from_json(to_json({**metadata, "format": FORMAT}).encode())
        _check_metadata(described, _check_parameters(parameters))
        save_tensors(path, {name: parameters[name] for name in _NAMES}, _KEY, described)
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
        _check_metadata(metadata, _check_parameters(parameters))
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


def _check_parameters(parameters: dict[str, np.ndarray]) -> tuple[int, int]:
    """Refuse arrays that are no network; otherwise (F, C), its features and classes."""
    if set(parameters) != set(_NAMES):
        raise TensorFileError(f"has the arrays {show(sorted(parameters))}; it needs {_NAMES}")
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
    return W1.shape[0], b2.shape[0]


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
    if not isinstance(shape, list) or not _is_area(shape, features):
        raise TensorFileError(
            f"has image_shape {show(shape)}; it must be [rows, columns], "
            f"with rows * columns = {features} features"
        )


def _is_name(name: Any) -> bool:
    """Text that a terminal may be shown: no control characters, no halves of surrogate pairs."""
    text = name.strip() if isinstance(name, str) else ""
    return text != "" and not any(unicodedata.category(c) in ("Cc", "Cs") for c in name)


def _is_area(shape: list[Any], size: int) -> bool:
    whole = all(type(length) is int and length > 0 for length in shape)
    return whole and len(shape) == 2 and math.prod(shape) == size

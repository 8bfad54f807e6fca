"""A trained network as a safetensors file, and the way back, which trusts nothing it reads.

The file holds the tensors ``W1`` (F, H1), ``b1`` (H1,) ... ``Wn`` (Hm, C), ``bn`` (C,), all float32
or all float64; where features were settled, ``unit`` (F,) float64, the power of two that one of
each feature is worth; and one metadata entry ``"backendmlp"``: the JSON text of ``{"format": 3,
"config": {...}, "class_names": [C names], "image_shape": [lengths]}``, with all choices of a
:class:`.Config`; the lengths, [rows, columns] for pictures, multiply to F.  A regression has no
class names, and ``"flat"`` says whether its targets were (N,) rather than (N, C).  It may also hold
``"data"``, the name, path and SHA-256 of the data as in a receipt, and ``"definition"``, the number
of the computation's definition.

Formats 1 and 2, which are still read, are of one hidden layer and seven choices; a unit has format
2 alone.  Whatever is written has the newest.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from backendmlp.config import Config, definition
from backendmlp.data.checks import is_name
from backendmlp.errors import InputError
from backendmlp.files import StrPath
from backendmlp.network.model import shapes
from backendmlp.runs.parsing import parse_config, parse_data
from backendmlp.strictjson import JSONError, from_json, show, to_json
from backendmlp.tensorfile import TensorFileError, load_tensors, save_tensors

FORMAT = 3

_KEY = "backendmlp"
_UNIT = "unit"
_UNITS = 2.0**-467, 2.0**433  # the least and the largest that features are settled in
_MOST_DIMENSIONS = 64  # of NumPy's arrays
_LONGEST_TEXT = 1 << 15  # of a path, or of the name of a data set
_NOT_OURS = "choose a file that backendmlp has written"


def described(
    config: Config,
    class_names: Sequence[str],
    image_shape: Sequence[int],
    flat: bool,
    unit: np.ndarray | None,
) -> dict[str, Any]:
    """The metadata of a model; ``flat`` counts for a regression alone."""
    found: dict[str, Any] = {
        "config": config.as_dict(),
        "class_names": list(class_names),
        "image_shape": list(image_shape),
    }
    if config.regression:
        found["flat"] = flat
    if unit is not None:
        found["definition"] = definition(config.numerics, pixels=False)
    return found


def save_model(path: StrPath, parameters: dict[str, np.ndarray], metadata: dict[str, Any]) -> None:
    """Write a model to ``path``, atomically; the same model gives the same bytes.

    ``parameters`` holds the arrays, and ``unit`` where features were settled; ``metadata`` at
    least ``config`` (a dict for JSON), ``class_names`` and ``image_shape``, as the module's
    docstring says; the format number is added here.  Raises :class:`InputError`, with nothing
    written, for whatever :func:`load_model` would refuse and where the file cannot be written.
    """
    try:
        # Checked as it will be read: JSON turns tuples into lists, and refuses what it cannot hold.
        described = from_json(to_json({**metadata, "format": FORMAT}).encode())
        _check(parameters, described)
        save_tensors(path, parameters, _KEY, described, sealed=True)
    except (TensorFileError, JSONError) as error:
        raise InputError(f"cannot save the model {str(path)!r}: it {error}") from error


def load_model(path: StrPath) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The parameters and metadata that :func:`save_model` wrote to ``path``.

    The arrays are fresh, writable and bitwise those that were saved; the metadata come without the
    format number, and ``config`` with all choices whatever the format.  Raises :class:`InputError`
    for a file that cannot be read, that is damaged, of another kind or of a newer format, or whose
    parts do not fit one another.
    """
    if isinstance(path, str | os.PathLike) and os.path.isdir(path):
        raise InputError(
            f"model file {str(path)!r} is a folder; give the file in it, as "
            f"{os.path.join(path, 'model.safetensors')!r}"
        )
    try:
        parameters, metadata = load_tensors(path, _KEY, check=_check_format)
        config = _check(parameters, metadata)
    except TensorFileError as error:
        raise InputError(f"model file {str(path)!r} {error}") from error
    del metadata["format"]
    names = [name for name in (*_names(config), _UNIT) if name in parameters]
    return {name: parameters[name] for name in names}, {**metadata, "config": config.as_dict()}


def _names(config: Config) -> list[str]:
    """The arrays of a network, layer by layer."""
    return list(shapes(config.sizes(1, 1)))


def _check_format(metadata: dict[str, Any]) -> None:
    number = metadata.get("format")
    if type(number) is not int or number < 1:
        raise TensorFileError(f"has no valid format number but {show(number)}; {_NOT_OURS}")
    if number > FORMAT:
        raise TensorFileError(
            f"was written by a newer backendmlp (format {show(number)}); update yours"
        )


def _check(parameters: dict[str, np.ndarray], metadata: dict[str, Any]) -> Config:
    """The configuration of a model whose parts all fit one another; others are refused."""
    config = _config(metadata)
    features, outputs = _check_parameters(parameters, config, metadata["format"])
    _check_targets(metadata, config, outputs)
    _check_metadata(metadata, features)
    return config


def _config(metadata: dict[str, Any]) -> Config:
    if not isinstance(metadata.get("config"), dict):
        raise TensorFileError(f"has no config in its metadata; {_NOT_OURS}")
    try:
        return parse_config(metadata["config"], old=metadata["format"] < 3)
    except InputError as error:
        raise TensorFileError(f"has a config that will not do: {error}") from error


def _check_parameters(
    parameters: dict[str, np.ndarray], config: Config, number: int
) -> tuple[int, int]:
    """Refuse arrays that are not those of ``config``; otherwise (F, C), features and outputs."""
    names = _names(config)
    units = {1: (False,), 2: (True,)}.get(number, (False, True))
    if set(parameters) - {_UNIT} != set(names) or (_UNIT in parameters) not in units:
        needed = [*names, _UNIT] if units == (True,) else names
        raise TensorFileError(f"has the arrays {show(sorted(parameters))}; it needs {needed}")
    dtypes = {parameters[name].dtype for name in names}
    if dtypes not in ({np.dtype(np.float32)}, {np.dtype(np.float64)}):
        found = ", ".join(sorted(map(str, dtypes)))
        raise TensorFileError(f"has dtypes {found}; all must be float32, or all float64")
    features, outputs = _check_shapes({name: parameters[name] for name in names}, config)
    for name in names:
        if not np.isfinite(parameters[name]).all():
            raise TensorFileError(f"has NaN or infinite values in {name}; train it anew")
    if _UNIT in parameters:
        _check_unit(parameters[_UNIT], parameters["W1"])
    return features, outputs


def _check_shapes(arrays: dict[str, np.ndarray], config: Config) -> tuple[int, int]:
    """(F, C) of arrays that are a network of the hidden units in ``config``."""
    found = {name: array.shape for name, array in arrays.items()}
    first, last = found["W1"], found[f"b{len(config.hidden) + 1}"]
    chain = len(first) == 2 and len(last) == 1 and first[0] and last[0]
    if chain and found == shapes(config.sizes(first[0], last[0])):
        return first[0], last[0]
    texts = ", ".join(f"{name} {shape}" for name, shape in list(found.items())[:8])
    raise TensorFileError(
        f"has shapes that do not fit one another, or not hidden {show(list(config.hidden))}: "
        f"{texts:.200}; train it anew"
    )


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


def _check_targets(metadata: dict[str, Any], config: Config, outputs: int) -> None:
    """Refuse names that are not those of the classes, and what a regression has not."""
    names, flat = metadata.get("class_names"), metadata.get("flat")
    if config.regression:
        if names != [] or type(flat) is not bool or (flat and outputs != 1):
            raise TensorFileError(
                f"has class_names {show(names)} and flat {show(flat)}; a regression has no class "
                "names, and its targets may be flat, true or false, where it has one output"
            )
        return
    named = isinstance(names, list) and len(names) == outputs and all(map(is_name, names))
    if not named or "flat" in metadata:
        raise TensorFileError(
            f"has class_names {show(names)}; they must be a list of {outputs} printable texts, "
            "one for each class, and nothing may say whether targets are flat"
        )


def _check_metadata(metadata: dict[str, Any], features: int) -> None:
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


def _is_shape(shape: list[Any], size: int) -> bool:
    whole = all(type(length) is int and length > 0 for length in shape)
    return whole and 0 < len(shape) < _MOST_DIMENSIONS and math.prod(shape) == size

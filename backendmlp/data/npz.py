"""Data sets and inputs in NumPy's ``.npz``, in the layout of Keras's ``mnist.npz``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from backendmlp.data.archive import Texts, read_array, read_arrays
from backendmlp.data.checks import Array, checked_inputs, require_names
from backendmlp.data.dataset import Dataset
from backendmlp.errors import InputError
from backendmlp.files import StrPath, open_regular, shown

NAMES = ("x_train", "y_train", "x_test", "y_test")
OPTIONAL = ("w_train", "x_valid", "y_valid")  # in the order of a data set's parts
CLASSES = "class_names"

_NPY = b"\x93NUMPY"  # how a file of one array begins

_LABELS = ("y_train", "y_test", "y_valid")
_INPUTS = ("x_train", "x_test", "x_valid", "x")
_TABLES = (".csv", ".tsv", ".txt", ".dat", ".parquet", ".xlsx", ".xls", ".json")
_READ = "import numpy as np; t = np.loadtxt(FILE, delimiter=',', skiprows=1); "
_TABLE_OF_DATA = (
    ", here of a table whose last column is the target, its first 80 % to train on: "
    f"{_READ}t = np.random.default_rng(0).permutation(t); n = len(t) * 4 // 5; "
    "np.savez('data.npz', x_train=t[:n, :-1], y_train=t[:n, -1], "
    "x_test=t[n:, :-1], y_test=t[n:, -1])"
)
_TABLE_OF_INPUTS = f", here of a table of features alone: {_READ}np.savez('data.npz', x=t)"


def load_file(
    path: StrPath, *, name: str | None = None, class_names: tuple[str, ...] = ()
) -> Dataset:
    """The data set in an ``.npz`` file with ``x_train``, ``y_train``, ``x_test`` and ``y_test``.

    Inputs are pixels, uint8 of any shape (n, ...) or whole numbers from 0 to 255 of any integer
    dtype (n, rows, cols), or features: floats (n, ...).  A last dimension of 1 behind rows and
    columns is left out.  Labels are whole numbers or booleans (n,) or (n, 1); other targets, (n,)
    or (n, C), are for a regression.  ``class_names`` (C,) may name the classes; labels may be such
    names themselves, and without ``class_names`` the classes are those among ``y_train``, in the
    order of their characters.  ``w_train`` (n,) may say what each row counts for, ``x_valid``
    and ``y_valid`` be data to validate with.  All of any byte order and layout, up to 4 GiB each in
    the file.  The digest is that of the same arrays in IDX files.

    :param name: what to call the set; the name of the file without ``.npz`` if None.
    :raises InputError: the file is missing, damaged or hostile, or the arrays do not fit together.
    """
    if os.path.isdir(path):
        raise InputError(
            f"cannot read {shown(path)}: it is a folder; give it to load_folder, or name a file in "
            "it"
        )
    _refuse_table(path, _TABLE_OF_DATA)
    found = read_arrays(path, lambda present: _chosen(present, path), _INPUTS, (*_LABELS, CLASSES))
    theirs = _names(found, path)
    class_names = class_names or theirs
    for label in _LABELS:
        if isinstance(found.get(label), Texts):
            found[label] = _numbers(found[label], class_names, f"{label} in {shown(path)}")
    shaped = {name: _without_last(name, array) for name, array in found.items()}
    stem = os.path.basename(os.path.abspath(path)).removesuffix(".npz")
    pair = (shaped["x_valid"], shaped["y_valid"]) if "x_valid" in shaped else None
    return Dataset(
        name or stem or "data",
        os.fspath(path),
        shaped["x_train"],
        shaped["y_train"],
        shaped["x_test"],
        shaped["y_test"],
        class_names=class_names,
        parts=tuple(f"{name} in {shown(path)}" for name in (*NAMES, *OPTIONAL)),
        train_weights=shaped.get("w_train"),
        validation=pair,
    )


def load_inputs(path: StrPath) -> tuple[Array, str]:
    """The inputs in an ``.npz`` file, (n, ...), called ``x``, or ``x_test`` of a data set.

    Also their name; those in an ``.npy`` file have none.  They are as in :func:`load_file`, which
    raises the same errors.
    """
    if _start(path) == _NPY:
        return checked_inputs(_without_last("x", read_array(path)), shown(path)), ""
    _refuse_table(path, _TABLE_OF_INPUTS)

    def choose(present: Sequence[str]) -> Sequence[str]:
        for name in ("x", "x_test"):
            if name in present:
                return (name,)
        raise InputError(
            f"{shown(path)} holds neither x nor x_test; write it with numpy.savez(FILE, x=...)"
        )

    ((name, array),) = read_arrays(path, choose, _INPUTS).items()
    return checked_inputs(_without_last(name, array), f"{name} in {shown(path)}"), name


def _chosen(present: Sequence[str], path: StrPath) -> list[str]:
    """The arrays of a data set among those ``present``; refuses what would go unnoticed."""
    for name in NAMES:
        if name not in present:
            raise InputError(
                f"{shown(path)} lacks {name}; write it with numpy.savez(FILE, x_train=..., "
                "y_train=..., x_test=..., y_test=...)"
            )
    for one, other in (("x_valid", "y_valid"), ("y_valid", "x_valid")):
        if one in present and other not in present:
            raise InputError(f"{shown(path)} holds {one} and no {other}; write both or neither")
    for name in present:
        if name[:2] in ("x_", "y_", "w_") and name not in (*NAMES, *OPTIONAL):
            known = ", ".join((*NAMES, *OPTIONAL))
            raise InputError(
                f"{shown(path)} holds {name[:40]!a}, and what is read is called {known}; give it "
                "one of these names, or leave it out"
            )
    return [name for name in (*NAMES, *OPTIONAL, CLASSES) if name in present]


def _names(found: dict[str, Any], path: StrPath) -> tuple[str, ...]:
    """The names of the classes, where the file names any; takes their array out of ``found``."""
    given, labels = found.pop(CLASSES, None), found["y_train"]
    if given is not None:
        part = f"{CLASSES} in {shown(path)}"
        if not isinstance(given, Texts) or len(given.shape) != 1:
            raise InputError(f"{part} holds no texts (classes,); write one name for each class")
        names = tuple(given.values[number] for number in given.numbers)
    elif isinstance(labels, Texts):
        part, names = f"y_train in {shown(path)}", tuple(sorted(labels.values))
    else:
        return ()
    require_names(names, part)
    return names


def _numbers(labels: Texts, names: tuple[str, ...], part: str) -> Array:
    """The numbers of classes, (n,), of labels that are their names."""
    numbers = {name: number for number, name in enumerate(names)}
    unknown = [value for value in labels.values if value not in numbers]
    if unknown:
        known = ", ".join(map(repr, names[:10])) + (", ..." if len(names) > 10 else "")
        raise InputError(
            f"{part} holds the label {unknown[0]!a:.80}, which is none of the classes "
            f"{known or 'since y_train holds numbers'!s:.300}; check its spelling"
        )
    return np.asarray([numbers[value] for value in labels.values], np.int64)[labels.numbers]


def _without_last(name: str, array: Array) -> Array:
    """``array`` without a last dimension of 1, which some writers add."""
    ndim = 4 if name in _INPUTS else 2
    return array[..., 0] if array.ndim == ndim and array.shape[-1] == 1 else array


def is_archive(path: StrPath) -> bool:
    """Whether a file is one for the functions here, if only to be refused: of NumPy or a table."""
    start = _start(path)
    return start[:4] == b"PK\3\4" or start == _NPY or _ending(path) in (".npz", ".npy", *_TABLES)


def _refuse_table(path: StrPath, program: str) -> None:
    """Say how to make an ``.npz`` file of a table, or of one array."""
    if _start(path) == _NPY:
        raise InputError(
            f"{shown(path)} holds one array alone; put all that is needed into one file, with "
            f"numpy.savez({program.partition('savez(')[2]}"
        )
    if _ending(path) in _TABLES:
        raise InputError(
            f"{shown(path)} is a table, and an .npz file is wanted; make one in Python{program}"
        )


def _start(path: StrPath) -> bytes:
    with open_regular(path) as file:
        return file.read(len(_NPY))


def _ending(path: StrPath) -> str:
    return os.path.splitext(os.fsdecode(path).lower().removesuffix(".gz"))[1]

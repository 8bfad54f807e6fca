"""A data set: images and labels to train on and to test with, checked when it is made."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from backendmlp.data.idx import Bytes, idx_sha256, read_idx
from backendmlp.errors import InputError
from backendmlp.files import StrPath, reason, shown

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
NDIMS = (3, 1, 3, 1)

_PARTS = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels; what does not fit together is refused on construction.

    There are as many classes as the largest training label asks for.

    :param source: where the data came from, for people to read.
    :param train_images: uint8 (n, rows, cols); may be a memory map.
    :param train_labels: uint8 (n,).
    :param test_images: uint8 (m, rows, cols), of the same size as the training images.
    :param test_labels: uint8 (m,), of the classes in the training labels.
    :param class_names: one a class; "0", "1", ... if empty.
    :param parts: what errors call the four arrays: the files they came from.
    :raises InputError: the arrays are not like this.
    """

    name: str
    source: str
    train_images: Bytes = field(repr=False)
    train_labels: Bytes = field(repr=False)
    test_images: Bytes = field(repr=False)
    test_labels: Bytes = field(repr=False)
    class_names: tuple[str, ...] = ()
    parts: tuple[str, ...] = field(default=_PARTS, repr=False)

    def __post_init__(self) -> None:
        for array, ndim, part in zip(self.arrays, NDIMS, self.parts, strict=True):
            _check_array(array, ndim, part)
        self._check_images()
        classes = self._count_classes()
        names = tuple(self.class_names) or tuple(map(str, range(classes)))
        if len(names) != classes:
            raise InputError(
                f"{self.parts[1]} has {classes} classes, but {len(names)} class names are given; "
                "name each class once"
            )
        object.__setattr__(self, "class_names", names)

    @property
    def arrays(self) -> tuple[Bytes, Bytes, Bytes, Bytes]:
        """Training images and labels, test images and labels: the order of :data:`FILES`."""
        return self.train_images, self.train_labels, self.test_images, self.test_labels

    @property
    def classes(self) -> int:
        """How many classes there are, at least 2."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int]:
        """(rows, cols) of an image."""
        rows, cols = self.train_images.shape[1:]
        return rows, cols

    @property
    def features(self) -> int:
        """How many pixels an image has."""
        rows, cols = self.image_shape
        return rows * cols

    @cached_property
    def file_sha256(self) -> tuple[str, ...]:
        """The SHA-256 of each array's plain IDX file, header included, in the order of arrays."""
        return tuple(map(idx_sha256, self.arrays))

    @cached_property
    def sha256(self) -> str:
        """One digest for the whole set, the same for plain, gzipped and in-memory data.

        It is the SHA-256 of the four digests of :attr:`file_sha256`, 32 raw bytes each, in order.
        """
        return hashlib.sha256(bytes.fromhex("".join(self.file_sha256))).hexdigest()

    def _check_images(self) -> None:
        train_images, train_labels, test_images, test_labels = self.parts
        _check_counts(self.train_images, train_images, self.train_labels, train_labels)
        _check_counts(self.test_images, test_images, self.test_labels, test_labels)
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise InputError(
                f"{train_images} holds images of {_size(self.train_images)} pixels, "
                f"{test_images} of {_size(self.test_images)}; give images of one size"
            )

    def _count_classes(self) -> int:
        classes = int(self.train_labels.max()) + 1
        if classes < 2:
            raise InputError(f"{self.parts[1]} holds class 0 alone; give at least two classes")
        beyond = np.flatnonzero(self.test_labels >= classes)
        if beyond.size:
            where = int(beyond[0])
            raise InputError(
                f"{self.parts[3]} holds label {self.test_labels[where]} at position {where}, but "
                f"the labels in {self.parts[1]} end at {classes - 1}; check that they belong "
                "together"
            )
        return classes


def load_folder(
    path: StrPath, *, name: str | None = None, class_names: tuple[str, ...] = ()
) -> Dataset:
    """The data set in a folder of four IDX files.

    They are called as MNIST's are, ``train-images-idx3-ubyte`` or ``train-images.idx3-ubyte`` and
    so on, each plain or with ``.gz``; a plain file is preferred to a gzipped one.

    :param name: what to call the set; the name of the folder if None.
    :raises InputError: a file is missing or bad, or the files do not fit together.
    """
    found = find_files(path)
    missing = [file for file, where in zip(FILES, found, strict=True) if where is None]
    if missing:
        raise InputError(
            f"{shown(path)} lacks {', '.join(missing)} (plain or .gz); "
            "name a folder that holds all four files"
        )
    files = [where for where in found if where is not None]
    train_images, train_labels, test_images, test_labels = map(read_idx, files, NDIMS)
    return Dataset(
        name or os.path.basename(os.path.abspath(path)) or "data",
        os.fspath(path),
        train_images,
        train_labels,
        test_images,
        test_labels,
        class_names,
        parts=tuple(map(shown, files)),
    )


def find_files(folder: StrPath) -> list[Path | None]:
    """Where each of :data:`FILES` lies in ``folder``, None for one that is missing.

    :raises InputError: ``folder`` cannot be listed.
    """
    try:
        present = set(os.listdir(folder))
    except NotADirectoryError as error:
        raise InputError(
            f"{shown(folder)} is not a folder; name the folder that holds the four IDX files"
        ) from error
    except (OSError, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else "no folder has such a name"
        raise InputError(
            f"folder {shown(folder)} cannot be read: {why}; check its name and permissions"
        ) from error
    return [_find_file(Path(folder), file, present) for file in FILES]


def _find_file(folder: Path, file: str, present: set[str]) -> Path | None:
    dotted = file.replace("-idx", ".idx")
    for candidate in (file, dotted, file + ".gz", dotted + ".gz"):
        if candidate in present:
            return folder / candidate
    return None


def _check_array(array: Bytes, ndim: int, part: str) -> None:
    wanted = f"give a {ndim}-dimensional NumPy array of uint8"
    if not isinstance(array, np.ndarray):
        raise InputError(f"{part} is a {type(array).__name__}; {wanted}")
    if array.dtype != np.uint8 or array.ndim != ndim:
        raise InputError(f"{part} is {array.ndim}-dimensional {array.dtype}; {wanted}")
    if array.size == 0:
        raise InputError(f"{part} is empty: its shape is {array.shape}; give at least one item")


def _check_counts(images: Bytes, images_part: str, labels: Bytes, labels_part: str) -> None:
    if len(images) != len(labels):
        raise InputError(
            f"{images_part} holds {len(images)} images, but {labels_part} holds {len(labels)} "
            "labels; check that they belong together"
        )


def _size(images: Bytes) -> str:
    return f"{images.shape[1]} x {images.shape[2]}"

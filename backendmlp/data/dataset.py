"""A data set: rows to train on and to test with, checked when it is made."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from backendmlp.data import checks
from backendmlp.data.checks import Array
from backendmlp.data.idx import idx_sha256, read_idx
from backendmlp.digests import may_change
from backendmlp.errors import InputError
from backendmlp.files import StrPath, reason, shown
from backendmlp.once import once

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
NDIMS = (3, 1, 3, 1)

_PARTS = (
    *("train_images", "train_labels", "test_images", "test_labels"),
    *("train_weights", "validation[0]", "validation[1]"),
)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images or features with labels or targets; what does not fit together is refused.

    Images are uint8 pixels, worth 1/255 a level; features are floats, (n, F) or of any shape.
    Labels are whole numbers from 0; there are as many classes as the largest training label asks
    for.  Targets of a regression (``loss="squared_error"``) are any numbers.

    :param source: where the data came from, for people to read.
    :param train_images: uint8, float32 or float64 (n, ...); may be a memory map.
    :param train_labels: (n,), or targets (n, C); whole numbers are kept in the narrowest of uint8,
        int16, int32 and float64 that holds them.
    :param test_images: (m, ...), of the same size and kind as the training images.
    :param test_labels: (m,) or (m, C).
    :param class_names: one a class; "0", "1", ... if empty and the labels can be classes.
    :param parts: what errors call the arrays: the files they came from.
    :param train_weights: (n,), what each training row counts for, if not all the same.
    :param validation: a pair of images (k, ...) and labels, to be evaluated after each epoch.
    :raises InputError: the arrays are not like this.
    """

    name: str
    source: str
    train_images: Array = field(repr=False)
    train_labels: Array = field(repr=False)
    test_images: Array = field(repr=False)
    test_labels: Array = field(repr=False)
    class_names: tuple[str, ...] = ()
    parts: tuple[str, ...] = field(default=_PARTS, repr=False)
    train_weights: Array | None = field(default=None, repr=False)
    validation: tuple[Array, Array] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", tuple(self.class_names))
        train = self._checked_pair(0, self.train_images, self.train_labels)
        test = self._checked_pair(2, self.test_images, self.test_labels)
        names = ("train_images", "train_labels", "test_images", "test_labels")
        for name, array in zip(names, (*train, *test), strict=True):
            object.__setattr__(self, name, array)
        if self.train_weights is not None:
            weights = checks.checked_weights(self.train_weights, self.parts[4])
            checks.require_counts(train[0], self.parts[0], weights, self.parts[4])
            object.__setattr__(self, "train_weights", weights)
        if self.validation is not None:
            object.__setattr__(self, "validation", self._checked_pair(5, *self.validation))
        self._name_classes()

    @property
    def arrays(self) -> tuple[Array, ...]:
        """Training images and labels, test images and labels, in the order of :data:`FILES`.

        Then the training weights, and the validation images and labels, where there are any.
        """
        weights = () if self.train_weights is None else (self.train_weights,)
        main = (self.train_images, self.train_labels, self.test_images, self.test_labels)
        return (*main, *weights, *(self.validation or ()))

    @once
    def classes(self) -> int:
        """How many classes there are, at least 2.

        Raises :class:`InputError` where the labels are no classes but other numbers, or those to
        test or validate with are of other classes than those to train on.
        """
        part = self.parts[1]
        classes = checks.count_classes(self.train_labels, part)
        checks.require_known(self.test_labels, self.parts[3], classes, part)
        if self.validation is not None:
            checks.require_known(self.validation[1], self.parts[6], classes, part)
        return classes

    def outputs(self, regression: bool) -> int:
        """How many outputs a network for these data has: those of a regression, or the classes.

        Raises :class:`InputError` where a regression was to learn classes that have names.
        """
        if not regression:
            return self.classes
        if self.class_names and self.class_names != tuple(map(str, range(self.classes))):
            raise InputError(
                f"{self.parts[1]} names classes, as {self.class_names[0]!r:.80}, and a squared "
                "error would learn their numbers; choose loss='cross_entropy' to tell classes "
                "apart, or give numbers as targets"
            )
        return 1 if self.train_labels.ndim == 1 else self.train_labels.shape[1]

    @property
    def pixels(self) -> bool:
        """Whether the inputs are pixels and not features."""
        return self.train_images.dtype == np.uint8

    @property
    def counted_as(self) -> str:
        """What people are told that the inputs are: "images", or of features alone "rows"."""
        return "images" if self.pixels or len(self.image_shape) > 1 else "rows"

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape of one input: (rows, cols) of an image, (F,) of a row of features."""
        return self.train_images.shape[1:]

    @property
    def features(self) -> int:
        """How many values an input has."""
        return math.prod(self.image_shape)

    @property
    def file_sha256(self) -> tuple[str, ...]:
        """The SHA-256 of each array's plain IDX file, header included, in the order of arrays.

        Found anew each time where somebody else can write to an array.
        """
        if any(map(may_change, self.arrays)):
            return tuple(map(idx_sha256, self.arrays))
        return self._lasting_sha256

    @once
    def _lasting_sha256(self) -> tuple[str, ...]:
        return tuple(map(idx_sha256, self.arrays))

    @property
    def sha256(self) -> str:
        """One digest for the whole set, the same for plain, gzipped and in-memory data.

        It is the SHA-256 of the digests of :attr:`file_sha256`, 32 raw bytes each, in order.
        """
        return hashlib.sha256(bytes.fromhex("".join(self.file_sha256))).hexdigest()

    def _checked_pair(self, first: int, images: Array, labels: Array) -> tuple[Array, Array]:
        """Inputs and targets, called by the ``first`` of the parts and the next."""
        images_part, labels_part = self.parts[first : first + 2]
        images = checks.checked_inputs(images, images_part)
        labels = checks.checked_targets(labels, labels_part)
        checks.require_counts(images, images_part, labels, labels_part)
        if first:
            checks.require_alike(self.train_images, self.parts[0], images, images_part)
            if self.train_labels.shape[1:] != labels.shape[1:]:
                raise InputError(
                    f"{self.parts[1]} has shape {self.train_labels.shape}, {labels_part} "
                    f"{labels.shape}; give as many targets for each row"
                )
        return images, labels

    def _name_classes(self) -> None:
        """Number the classes, if there are any, whose names were not given."""
        if self.class_names:
            if len(self.class_names) != self.classes:
                raise InputError(
                    f"{self.parts[1]} has {self.classes} classes, but {len(self.class_names)} "
                    "class names are given; name each class once"
                )
            return
        try:
            classes = self.classes
        except InputError:  # targets of a regression; who takes them for classes is told
            return
        object.__setattr__(self, "class_names", tuple(map(str, range(classes))))


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

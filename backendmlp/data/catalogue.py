"""The data sets that have a name: where they are looked for, and what they must be to the byte."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from backendmlp.data.dataset import FILES, NDIMS, Dataset, find_files, load_folder
from backendmlp.data.download import RemoteFile, download
from backendmlp.data.idx import Bytes, read_idx
from backendmlp.errors import InputError
from backendmlp.files import StrPath, shown

if TYPE_CHECKING:
    from importlib.abc import Traversable

SAMPLE = "fashion-mnist-sample"

SYSTEM = Path("/usr/share/datasets")
"""Where Debian's packages put data sets."""

_SIZES = (47040016, 60008, 7840016, 10008)


@dataclass(frozen=True)
class Entry:
    """A named set: its four files in the order of :data:`FILES`, and who offers them."""

    files: tuple[RemoteFile, ...]
    mirrors: tuple[str, ...]
    class_names: tuple[str, ...]
    package: str = ""
    """The system package that holds the set, for advice."""


def _files(*sha256: str) -> tuple[RemoteFile, ...]:
    return tuple(map(RemoteFile, FILES, _SIZES, sha256))


CATALOGUE = {
    "mnist": Entry(
        files=_files(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        class_names=tuple("0123456789"),
    ),
    "fashion-mnist": Entry(
        files=_files(
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
        mirrors=(
            # Not encrypted, which is no matter: the checksums settle what is accepted.
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        class_names=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        package="dataset-fashion-mnist",
    ),
}


def load_sample() -> Dataset:
    """The sample of Fashion-MNIST that comes with the package.

    The first 1,000 training and 200 test images of each class: (10000, 28, 28) and (2000, 28, 28).
    """
    folder = resources.files("backendmlp.data") / "sample"
    train_images, train_labels, test_images, test_labels = (
        _read_resource(folder / f"{file}.gz", ndim) for file, ndim in zip(FILES, NDIMS, strict=True)
    )
    return Dataset(
        SAMPLE,
        "shipped with backendmlp",
        train_images,
        train_labels,
        test_images,
        test_labels,
        CATALOGUE["fashion-mnist"].class_names,
    )


def _read_resource(resource: Traversable, ndim: int) -> Bytes:
    # A package may be installed as a zip file, whose members become files for a moment only; the
    # sample is gzipped and so read into memory.
    with resources.as_file(resource) as path:
        return read_idx(path, ndim)


def load_named(
    name: str,
    *,
    cache: StrPath | None = None,
    mirrors: Sequence[str] | None = None,
    timeout: float = 30.0,
    total_timeout: float = 900.0,
    progressbar: bool = False,
) -> Dataset:
    """The data set called ``name``, "mnist" or "fashion-mnist", verified by its checksums.

    "fashion-mnist-sample" is :func:`load_sample`'s.

    It is looked for in ``$BACKENDMLP_DATA``: in the folders there that are called like it (of
    ``fashion-mnist``, ``FashionMNIST`` and ``FashionMNIST/raw`` too) and in the folder itself.
    Then in ``<cache>/<name>`` and ``/usr/share/datasets/<name>``; and it is downloaded into the
    cache if none of them holds it.  Other files on the way are passed over, with a warning.

    :param cache: the folder for downloads; the user's cache folder of this platform if None.
    :param mirrors: addresses to download from; ``$BACKENDMLP_MIRROR`` (separated by spaces) if
        None, and the well-known ones if that is not set.
    :param timeout: how many seconds a mirror may be silent before the next one is asked.
    :param total_timeout: how many seconds it may take for a file in all.
    :param progressbar: show the progress of downloads on stderr.
    :raises InputError: there is no such set, it cannot be had, or the cache holds other files.
    """
    if name == SAMPLE:
        return load_sample()
    entry = CATALOGUE.get(name)
    if entry is None:
        known = ", ".join((SAMPLE, *CATALOGUE))
        raise InputError(f"data set {name!r} is not known; choose one of {known}")
    for which, seconds in (("timeout", timeout), ("total_timeout", total_timeout)):
        if not 0 < seconds <= 86400:
            raise InputError(f"{which} {seconds!r} is out of range; give 0 to 86,400 seconds")
    cached = _cache_folder(cache) / name
    passed: dict[Path, str] = {}
    for folder in (*_named_folders(name), cached, SYSTEM / name):
        if folder.is_dir() and any(find_files(folder)):
            try:
                dataset = _load_verified(name, entry, folder)
            except InputError as error:
                passed[folder] = str(error)
            else:
                _tell(name, passed, folder)
                return dataset
    if cached in passed:
        raise InputError(
            f"the cache cannot take {name}: {_without_remedy(passed[cached])}; move "
            f"{shown(cached)} elsewhere to have it downloaded again"
        )
    download(
        entry.files,
        _choose_mirrors(entry, mirrors),
        cached,
        advice=_advice(entry, passed),
        timeout=timeout,
        total_timeout=total_timeout,
        progressbar=progressbar,
    )
    _tell(name, passed, cached)
    return _load_verified(name, entry, cached)


def is_named(dataset: Dataset) -> bool:
    """Whether ``dataset`` is the set of the catalogue that it is called like."""
    entry = CATALOGUE.get(dataset.name)
    return (
        entry is not None
        and dataset.class_names == entry.class_names
        and dataset.file_sha256 == tuple(file.sha256 for file in entry.files)
    )


def load_found(name: str, folder: StrPath) -> Dataset | None:
    """The set of the catalogue called ``name`` in ``folder``, None where it is there no more."""
    with suppress(InputError):
        return _load_verified(name, CATALOGUE[name], Path(folder))
    return None


def _named_folders(name: str) -> Iterator[Path]:
    """The folder that the environment names, after those in it that are called like the set."""
    if not (text := os.environ.get("BACKENDMLP_DATA")):
        return
    folder = Path(text)
    if not folder.is_dir():
        raise InputError(f"BACKENDMLP_DATA names {shown(folder)}, which is not a folder; mend it")
    present = os.listdir(folder) if os.access(folder, os.R_OK) else []
    for child in sorted(entry for entry in present if letters(entry) == letters(name)):
        yield folder / child
        yield folder / child / "raw"  # where torchvision puts the files
    yield folder


def letters(name: str) -> str:
    """What is left of a set's name where its spelling does not count."""
    return "".join(filter(str.isalnum, name.lower()))


def _tell(name: str, passed: Mapping[Path, str], folder: Path) -> None:
    if passed:
        why = "; ".join(map(_without_remedy, passed.values()))
        warnings.warn(f"{name} comes from {shown(folder)}; passed over: {why}", stacklevel=3)


def _cache_folder(cache: StrPath | None) -> Path:
    if cache is not None:
        return Path(cache)
    import pooch  # slow to import

    return Path(pooch.os_cache("backendmlp"))


def _choose_mirrors(entry: Entry, mirrors: Sequence[str] | None) -> Sequence[str]:
    if mirrors is not None:
        return [mirrors] if isinstance(mirrors, str) else mirrors
    return os.environ.get("BACKENDMLP_MIRROR", "").split() or entry.mirrors


def _advice(entry: Entry, passed: Mapping[Path, str]) -> str:
    install = f"install Debian's {entry.package}, " if entry.package else ""
    return (
        f"check the connection, {install}or name a folder of the four IDX files with --data DIR or "
        "BACKENDMLP_DATA"
        + "".join(f"; passed over: {_without_remedy(why)}" for why in passed.values())
    )


def _without_remedy(sentence: str) -> str:
    """What is wrong, where another remedy follows."""
    return sentence.partition("; ")[0]


def _load_verified(name: str, entry: Entry, folder: Path) -> Dataset:
    dataset = load_folder(folder, name=name)
    for other, known in {name: entry, **CATALOGUE}.items():
        if dataset.file_sha256 == tuple(file.sha256 for file in known.files):
            if other == name:
                return replace(dataset, class_names=entry.class_names)
            raise InputError(f"{shown(folder)} holds {other}")
    file, digest, part = next(
        (file, digest, part)
        for file, digest, part in zip(entry.files, dataset.file_sha256, dataset.parts, strict=True)
        if digest != file.sha256
    )
    raise InputError(
        f"{part} is not the file of {name} (the SHA-256 of its plain contents is {digest}, "
        f"not {file.sha256})"
    )

"""Data sets: what has to fit together, folders of files, the digest and the sample."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backendmlp.data import Dataset, load_file, load_folder, load_sample, read_idx, write_idx
from backendmlp.data.dataset import FILES
from backendmlp.data.idx import idx_header
from backendmlp.digests import read_only
from backendmlp.errors import InputError

ARRAYS = {
    "train_images": np.arange(6 * 2 * 3, dtype=np.uint8).reshape(6, 2, 3),
    "train_labels": np.array([0, 1, 2, 0, 1, 2], np.uint8),
    "test_images": np.arange(100, 100 + 4 * 2 * 3, dtype=np.uint8).reshape(4, 2, 3),
    "test_labels": np.array([2, 1, 0, 0], np.uint8),
}


def make(**changes: object) -> Dataset:
    return Dataset(**{"name": "tiny", "source": "memory", **ARRAYS, **changes})


def fill(folder: Path, ending: str = "", dotted: bool = False, **changes: np.ndarray) -> Path:
    """Write a folder of four files, with the arrays of ARRAYS changed by ``changes``."""
    folder.mkdir(exist_ok=True)
    for file, array in zip(FILES, {**ARRAYS, **changes}.values(), strict=True):
        name = file.replace("-idx", ".idx") if dotted else file
        write_idx(folder / (name + ending), array)
    return folder


def test_properties():
    data = make()
    assert (data.classes, data.features, data.image_shape) == (3, 6, (2, 3))
    assert data.class_names == ("0", "1", "2")
    assert make(class_names=("a", "b", "c")).class_names == ("a", "b", "c")
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.name = "other"
    assert len(repr(data)) < 200


def test_classes_are_counted_from_the_training_labels():
    assert make(train_labels=np.array([0, 7, 0, 0, 0, 0], np.uint8)).classes == 8
    assert make(train_labels=np.full(6, 255, np.uint8)).classes == 256


BAD = {
    "fewer labels": (
        {"train_labels": np.zeros(5, np.uint8)},
        "train_images holds 6 images, but train_labels holds 5 labels",
    ),
    "more test labels": (
        {"test_labels": np.zeros(9, np.uint8)},
        "test_images holds 4 images, but test_labels holds 9 labels",
    ),
    "image sizes": (
        {"test_images": np.zeros((4, 3, 2), np.uint8)},
        "train_images holds images of 2 x 3 pixels, test_images of 3 x 2",
    ),
    "names": ({"class_names": ("a", "b")}, "has 3 classes, but 2 class names are given"),
    "names of no classes": (
        {"class_names": ("a", "b"), "train_labels": np.arange(6) / 4},
        "train_labels holds 0.25, and classes are whole numbers from 0",
    ),
    "integers": ({"train_images": np.zeros((6, 2, 3), int)}, "3-dimensional int64; give uint8"),
    "one kind": (
        {"test_images": np.zeros((4, 2, 3))},
        "train_images holds uint8, test_images float64; give all as uint8 pixels or all as floats",
    ),
    "single": ({"train_images": np.zeros(6, np.uint8)}, "train_images is 1-dimensional uint8"),
    "texts": ({"train_labels": np.array(list("abcabc"))}, "train_labels is 1-dimensional <U1"),
    "list": (
        {"test_labels": [2, 1, 0, 0]},
        "test_labels is a list; give labels or targets as a NumPy array (n,)",
    ),
    "not a number": (
        {"train_labels": np.array([0, 1, np.nan, 1, 2, 0])},
        "train_labels holds NaN or infinity, first in row 2",
    ),
    "targets": (
        {"train_labels": np.zeros((6, 2))},
        "train_labels has shape (6, 2), test_labels (4,); give as many targets for each row",
    ),
    "huge": ({"train_labels": np.full(6, 2**60)}, "train_labels holds numbers from 1152921504606"),
    "weights": (
        {"train_weights": np.ones(5)},
        "train_images holds 6 images, but train_weights holds 5 labels",
    ),
    "negative weights": (
        {"train_weights": np.array([1.0, -1, 1, 1, 1, 1])},
        "train_weights holds numbers from -1 to 1; give numbers of at least zero",
    ),
    "validation": (
        {"validation": (np.zeros((2, 3, 2), np.uint8), np.zeros(2, np.uint8))},
        "train_images holds images of 2 x 3 pixels, validation[0] of 3 x 2",
    ),
    "empty": ({"test_labels": np.zeros(0, np.uint8)}, "test_labels is empty"),
    "no pixels": ({"test_images": np.zeros((4, 0, 3), np.uint8)}, "test_images is empty"),
}


@pytest.mark.parametrize(("changes", "fault"), BAD.values(), ids=BAD.keys())
def test_what_does_not_fit_is_refused(changes, fault):
    with pytest.raises(InputError, match=re.escape(fault)):
        make(**changes)


NO_CLASSES = {
    "unknown class": (
        {"test_labels": np.array([0, 1, 9, 3], np.uint8)},
        "test_labels holds label 9 at position 2, but the labels in train_labels end at 2",
    ),
    "unknown in validation": (
        {"validation": (ARRAYS["test_images"], np.array([0, 0, 0, 5]))},
        "validation[1] holds label 5 at position 3",
    ),
    "one class": ({"train_labels": np.zeros(6, np.uint8)}, "give at least two classes"),
    "negative": ({"train_labels": np.arange(6) - 1}, "holds labels from -1 to 4; number"),
    "too many": ({"train_labels": np.arange(6) * 20000}, "at most 65,536 of them"),
    "reals": ({"train_labels": np.arange(6) / 2}, "train_labels holds 0.5, and classes are whole"),
    "rows": (
        {"train_labels": np.eye(6), "test_labels": np.eye(4, 6)},
        "labels.argmax(axis=1) where each row marks one class; real targets are for --loss",
    ),
}


@pytest.mark.parametrize(("changes", "fault"), NO_CLASSES.values(), ids=NO_CLASSES.keys())
def test_targets_that_are_no_classes_are_those_of_a_regression(changes, fault):
    data = make(**changes)
    assert data.class_names == ()
    assert data.outputs(regression=True) == (6 if fault.startswith("labels.arg") else 1)
    for ask in (lambda: data.classes, lambda: data.outputs(regression=False)):
        with pytest.raises(InputError, match=re.escape(fault)):
            ask()


def test_features_weights_and_validation():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(10, 3)), rng.normal(size=(10, 2))
    data = make(
        train_images=x[:6],
        train_labels=y[:6],
        test_images=x[6:].astype("f4"),
        test_labels=y[6:],
        train_weights=np.arange(6),
        validation=(x[:2], y[:2]),
    )
    assert (data.features, data.image_shape, data.pixels) == (3, (3,), False)
    assert data.outputs(regression=True) == 2
    assert data.train_weights.dtype == np.float64
    assert len(data.arrays) == len(data.file_sha256) == 7
    assert make().pixels


@pytest.mark.parametrize("dtype", ["i1", "<i2", ">u2", "<i4", ">i8", "<u8"])
def test_labels_of_any_integers_are_the_same(dtype):
    labels = {n: a.astype(dtype) for n, a in ARRAYS.items() if "labels" in n}
    assert make(**labels).sha256 == make().sha256
    assert make(**labels).train_labels.dtype == np.uint8


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([True, False], "u1"),
        ([0, 255], "u1"),
        ([-1, 255], "i2"),
        ([0, 256], "i2"),
        ([0, 40000], "i4"),
        ([0, 2**31], "f8"),
        ([0.5, 1], "f8"),
    ],
)
def test_targets_are_kept_as_idx_has_them(values, dtype):
    found = make(train_labels=np.array(values * 3)).train_labels
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, values * 3)


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("dotted", [False, True])
def test_both_namings_plain_and_gzipped(tmp_path, ending, dotted):
    folder = fill(tmp_path / "digits", ending, dotted)
    data = load_folder(folder)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(getattr(data, name), array)
    assert (data.name, data.source) == ("digits", str(folder))
    assert data.sha256 == make().sha256


def test_name_of_a_folder_that_is_given_by_dots(tmp_path, monkeypatch):
    monkeypatch.chdir(fill(tmp_path / "digits"))
    assert load_folder(".").name == "digits"
    assert load_folder(".", name="other").name == "other"


def test_plain_file_is_preferred(tmp_path):
    fill(tmp_path)
    for file in FILES:
        (tmp_path / f"{file}.gz").write_bytes(b"not looked at")
    assert load_folder(tmp_path).sha256 == make().sha256


def test_errors_of_a_folder_name_its_files(tmp_path):
    fill(tmp_path, ".gz", test_labels=np.array([1, 1], np.uint8))
    with pytest.raises(InputError) as caught:
        load_folder(tmp_path)
    assert str(tmp_path / "t10k-images-idx3-ubyte.gz") in str(caught.value)
    assert str(tmp_path / "t10k-labels-idx1-ubyte.gz") in str(caught.value)


def test_missing_files_are_listed(tmp_path):
    fill(tmp_path, ".gz")
    (tmp_path / f"{FILES[1]}.gz").unlink()
    (tmp_path / f"{FILES[2]}.gz").unlink()
    with pytest.raises(InputError, match=f"lacks {FILES[1]}, {FILES[2]} ") as caught:
        load_folder(tmp_path)
    assert FILES[0] not in str(caught.value)


def test_files_that_changed_places_are_refused(tmp_path):
    fill(tmp_path)
    os.replace(tmp_path / FILES[0], tmp_path / FILES[1])
    fill(tmp_path / "more")
    os.replace(tmp_path / "more" / FILES[1], tmp_path / FILES[0])
    with pytest.raises(InputError, match="mislabelled: it holds labels"):
        load_folder(tmp_path)


def test_folders_that_are_none_are_refused(tmp_path):
    with pytest.raises(InputError, match="nowhere cannot be read: no such file"):
        load_folder(tmp_path / "nowhere")
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(InputError, match="file is not a folder"):
        load_folder(tmp_path / "file")
    with pytest.raises(InputError, match="no folder has such a name"):
        load_folder("a\0b")
    (tmp_path / FILES[0]).symlink_to("nothing")
    with pytest.raises(InputError, match="lacks train-labels"):
        load_folder(tmp_path)


def test_digest_is_as_documented(tmp_path):
    fill(tmp_path)
    whole = hashlib.sha256()
    for file, digest in zip(FILES, load_folder(tmp_path).file_sha256, strict=True):
        raw = hashlib.sha256((tmp_path / file).read_bytes())
        assert digest == raw.hexdigest()
        whole.update(raw.digest())
    assert load_folder(tmp_path).sha256 == whole.hexdigest()


def test_digest_tells_every_change():
    digests = {make().sha256, make(class_names=("a", "b", "c")).sha256}
    assert len(digests) == 1  # names are not data
    for name, array in ARRAYS.items():
        other = array.copy()
        other[-1] = 1
        digests.add(make(**{name: other}).sha256)
    shapes = {n: ARRAYS[n].transpose(0, 2, 1).reshape(-1, 3, 2) for n in ARRAYS if "images" in n}
    digests.add(make(**shapes).sha256)
    assert len(digests) == 6


def test_digest_is_taken_once_of_what_nobody_can_change(monkeypatch, tmp_path):
    """That is what is read from files, too; a run asks for it time and again."""
    np.savez(tmp_path / "set.npz", **{_npz(name): array for name, array in ARRAYS.items()})
    own = {name: read_only(array.copy()) for name, array in ARRAYS.items()}
    plain, zipped = fill(tmp_path / "plain"), fill(tmp_path / "zipped", ".gz")
    npz = load_file(tmp_path / "set.npz")
    for data in (make(**own), load_folder(plain), load_folder(zipped), npz, load_sample()):
        taken = data.file_sha256
        with monkeypatch.context() as patch:
            patch.setattr(hashlib, "sha256", None)
            assert data.file_sha256 == taken


def _npz(name: str) -> str:
    part, kind = name.split("_")
    return f"{'x' if kind == 'images' else 'y'}_{part}"


def test_sample_is_balanced_and_whole():
    data = load_sample()
    assert data.name == "fashion-mnist-sample"
    assert data.train_images.shape == (10000, 28, 28)
    assert data.test_images.shape == (2000, 28, 28)
    assert (np.bincount(data.train_labels) == 1000).all()
    assert (np.bincount(data.test_labels) == 200).all()
    assert data.class_names[0] == "T-shirt/top"
    assert data.class_names[9] == "Ankle boot"
    assert data.sha256 == "8e9a1cd3baf3a3581e678011c2943d30a3a299c56513ecd9bee7e44873358dbc"


def test_script_takes_the_first_of_each_class(tmp_path, monkeypatch):
    path = Path(__file__).parent.parent / "scripts" / "make_sample.py"
    spec = importlib.util.spec_from_file_location("make_sample", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script, "TRAIN_PER_CLASS", 1)
    monkeypatch.setattr(script, "TEST_PER_CLASS", 1)
    source, target = fill(tmp_path / "whole"), tmp_path / "sample"
    target.mkdir()
    monkeypatch.setattr(sys, "argv", ["make_sample", str(source), str(target)])
    script.main()
    sample = load_folder(target)
    np.testing.assert_array_equal(sample.train_images, ARRAYS["train_images"][:3])
    np.testing.assert_array_equal(sample.test_images, ARRAYS["test_images"][:3])
    np.testing.assert_array_equal(sample.test_labels, [2, 1, 0])
    packed = (target / f"{FILES[1]}.gz").read_bytes()
    assert gzip.decompress(packed) == idx_header((3,)) + b"\0\1\2"


def test_import_is_light():
    code = "import sys, backendmlp.data; print({'pooch', 'PIL', 'requests'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=180
    )
    assert done.stdout.strip() == "set()"


def test_mapped_data_outlive_their_folder(tmp_path):
    data = load_folder(fill(tmp_path / "digits"))
    for file in FILES:
        (tmp_path / "digits" / file).unlink()
    np.testing.assert_array_equal(data.train_images, ARRAYS["train_images"])
    with pytest.raises(InputError):
        read_idx(tmp_path / "digits" / FILES[0], 3)

"""Files as Keras keeps MNIST: what is read, and how everything else is refused without harm."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import call, receipt, train

import backendmlp
from backendmlp.data import archive, load_file, load_folder, load_inputs, write_idx
from backendmlp.data.dataset import FILES
from backendmlp.data.origin import origin
from backendmlp.errors import InputError

ARRAYS = {
    "x_train": np.arange(6 * 2 * 3, dtype=np.uint8).reshape(6, 2, 3) * 7,
    "y_train": np.array([0, 1, 2, 0, 1, 2], np.uint8),
    "x_test": np.arange(100, 100 + 4 * 2 * 3, dtype=np.uint8).reshape(4, 2, 3),
    "y_test": np.array([2, 1, 0, 0], np.uint8),
}

NAMES = np.array(["Bee", "Ape", "Cat", "Bee", "Ape", "Cat"])


def write(path: Path, save: Any = np.savez, **changes: Any) -> Path:
    arrays = {name: array for name, array in {**ARRAYS, **changes}.items() if array is not None}
    save(path, **arrays)
    return path


def npy(array: np.ndarray, version: tuple[int, int] = (1, 0)) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version)
    return stream.getvalue()


def pack(path: Path, compression: int = zipfile.ZIP_STORED, **members: bytes) -> Path:
    """The four arrays, with ``members`` instead of some of them."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, array in ARRAYS.items():
            archive.writestr(f"{name}.npy", members.get(name) or npy(array))
    return path


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_file(path)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert str(path) in sentence
    return sentence


def assert_whole(path: Path) -> None:
    data = load_file(path)
    for array, expected in zip(data.arrays, ARRAYS.values(), strict=True):
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == np.uint8
        assert not array.flags.writeable


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_digest_is_that_of_the_same_images_in_idx_files(tmp_path, save):
    path = write(tmp_path / "digits.npz", save)
    for file, array in zip(FILES, ARRAYS.values(), strict=True):
        write_idx(tmp_path / file, array)
    data = backendmlp.load_file(path)
    assert data.sha256 == load_folder(tmp_path).sha256
    assert (data.name, data.source) == ("digits", str(path))
    assert load_file(path, name="other", class_names=("a", "b", "c")).class_names == ("a", "b", "c")


@pytest.mark.parametrize("dtype", ["i1", "<i2", ">u2", "<i4", ">i8", "<u8"])
def test_other_integers_become_bytes(tmp_path, dtype):
    small = {name: array % 128 for name, array in ARRAYS.items()}
    path = write(tmp_path / "a.npz", **{n: a.astype(dtype) for n, a in small.items()})
    for array, expected in zip(load_file(path).arrays, small.values(), strict=True):
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == np.uint8


def test_layouts(tmp_path):
    assert_whole(write(tmp_path / "f.npz", **{n: np.asfortranarray(a) for n, a in ARRAYS.items()}))
    assert_whole(write(tmp_path / "last.npz", **{n: a[..., None] for n, a in ARRAYS.items()}))
    assert_whole(write(tmp_path / "more.npz", notes=np.zeros(3)))
    for version in ((1, 0), (2, 0), (3, 0)):
        data = {n: npy(a, version) for n, a in ARRAYS.items()}
        assert_whole(pack(tmp_path / "v.npz", zipfile.ZIP_DEFLATED, **data))


def header(text: str) -> bytes:
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize(
    "text",
    [
        "{'shape':(6L,),'descr':'|u1','fortran_order':False}",
        '{"fortran_order": False, "shape": (6, ), "descr": "|u1", }  \n',
    ],
)
def test_headers_that_other_programs_write(tmp_path, text):
    assert_whole(pack(tmp_path / "a.npz", y_train=header(text) + ARRAYS["y_train"].tobytes()))


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8", ">f8"])
def test_features_and_targets(tmp_path, dtype):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(10, 3)).astype(dtype), rng.normal(size=(10, 2)).astype(dtype)
    arrays = {"x_train": x[:6], "y_train": y[:6], "x_test": x[6:], "y_test": y[6:]}
    extra = {"w_train": np.arange(6), "x_valid": x[:2], "y_valid": y[:2]}
    data = load_file(write(tmp_path / "a.npz", **arrays, **extra))
    kept = np.dtype("f8" if dtype.endswith("8") else "f4")
    expected = [*arrays.values(), *extra.values()]
    for array, given in zip(data.arrays, expected, strict=True):
        assert array.dtype == (np.float64 if given.dtype == int else kept)
        np.testing.assert_array_equal(array, given)
    plain = load_file(write(tmp_path / "b.npz", **arrays))
    assert (plain.train_weights, plain.validation) == (None, None)
    assert plain.sha256 != data.sha256
    assert plain.outputs(regression=True) == 2


def test_labels_that_are_no_bytes(tmp_path):
    labels = {"y_train": np.array([0, 300, 2, 0, 1, 2]), "y_test": np.array([[0], [1], [2], [0]])}
    data = load_file(write(tmp_path / "a.npz", **labels))
    assert (data.classes, data.train_labels.dtype) == (301, np.int16)
    assert data.test_labels.shape == (4,)
    marks = {name: ARRAYS[name] > 0 for name in ("y_train", "y_test")}
    assert load_file(write(tmp_path / "a.npz", **marks)).classes == 2


@pytest.mark.parametrize("shape", [(2, 3, 3), (6,), (3, 1)])
def test_pixels_of_any_shape(tmp_path, shape):
    images = {"x_train": np.ones((6, *shape), "u1"), "x_test": np.ones((4, *shape), "u1")}
    assert load_file(write(tmp_path / "a.npz", **images)).image_shape == shape


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["<U3", ">U3", "S3", "<U300"])
def test_labels_that_are_names(tmp_path, kind, order):
    """Pieces are read of as many texts as fit, whatever their length."""
    y_train, y_test = NAMES.astype(kind), NAMES[[1, 2, 0, 0], None].astype(kind, order=order)
    data = load_file(write(tmp_path / "a.npz", y_train=y_train, y_test=y_test))
    assert data.class_names == ("Ape", "Bee", "Cat")
    assert data.train_labels.tolist() == [1, 0, 2, 1, 0, 2]
    assert data.test_labels.tolist() == [0, 2, 1, 1]
    assert data.train_labels.dtype == np.uint8


def test_names_of_classes(tmp_path):
    """In the order given, of labels that are numbers and of those that are names."""
    names = np.array(["Cat", "Ape", "Bee"])
    numbers = load_file(write(tmp_path / "a.npz", class_names=names))
    assert numbers.class_names == ("Cat", "Ape", "Bee")
    assert numbers.train_labels.tolist() == ARRAYS["y_train"].tolist()
    texts = {"y_train": names[ARRAYS["y_train"]], "y_test": names[ARRAYS["y_test"]]}
    named = load_file(write(tmp_path / "b.npz", class_names=names, **texts))
    assert (named.class_names, named.sha256) == (numbers.class_names, numbers.sha256)


def test_many_texts_are_no_names(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_CLASSES", 2)
    assert "more than 2 different texts" in refused(write(tmp_path / "a.npz", y_train=NAMES))


def test_names_go_through_a_run(tmp_path):
    """To weights of classes, into the model and its predictions, and are what other data go by."""
    names = np.array(["Cat", "Ape", "Bee"])
    texts = {"y_train": names[ARRAYS["y_train"]], "y_test": names[ARRAYS["y_test"]]}
    path, out = write(tmp_path / "a.npz", **texts), tmp_path / "run"
    options = ("--hidden", 4, "--epochs", 30, "--batch-size", 2, "--class-weight", "Bee=2")
    assert train("--data", path, "--out", out, *options).code == 0
    assert receipt(out)["config"]["class_weight"] == [1.0, 2.0, 1.0]
    assert backendmlp.MLP.load(out / "model.safetensors").class_names == ("Ape", "Bee", "Cat")
    assert call("verify", out).code == 0
    seen = call("evaluate", out, "--format", "json")
    some = np.isin(texts["y_test"], ["Bee", "Cat"])  # of which Bee is number 0 there
    other = {name: ARRAYS[name][some] for name in ("x_test",)} | {"y_test": texts["y_test"][some]}
    few = {"x_train": ARRAYS["x_train"][[0, 2]], "y_train": texts["y_train"][[0, 2]]}
    part = call(
        "evaluate", out, "--format", "json", "--data", write(tmp_path / "b.npz", **few, **other)
    )
    whole = {row["class"]: row["accuracy"] for row in json.loads(seen.out)["classes"]}
    found = {row["class"]: row["accuracy"] for row in json.loads(part.out)["classes"]}
    assert found == {name: whole[name] for name in ("Bee", "Cat")}
    dogs = {"y_train": np.array(["Dog", "Ape"] * 3), "y_test": NAMES[[1] * 4]}
    result = call("evaluate", out, "--data", write(tmp_path / "c.npz", **dogs))
    assert "a class 'Dog', which the model does not know" in result.err


def test_inputs_in_a_file_of_their_own(tmp_path):
    out = tmp_path / "run"
    assert train("--data", write(tmp_path / "a.npz"), "--out", out, "--epochs", 1).code == 0
    np.savez(tmp_path / "x.npz", x=ARRAYS["x_test"])
    for name, array in (
        ("x.npy", ARRAYS["x_test"]),
        ("f.npy", np.asfortranarray(ARRAYS["x_test"])),
    ):
        np.save(tmp_path / name, array)
        one, two = (
            call("predict", out, tmp_path / file, "--format", "json") for file in (name, "x.npz")
        )
        assert (one.code, two.code) == (0, 0)
        assert one.out.replace(name, "x.npz") == two.out
    for array, words in (
        (np.ones((2, 3), int), "pixels or features; write it again"),
        (np.array([{}]), "pickled objects"),
        (np.full((2, 2), "a"), "holds texts"),
        (np.ones(3), "give uint8 pixels or floats"),
    ):
        np.save(tmp_path / "bad.npy", array, allow_pickle=True)
        result = call("predict", out, tmp_path / "bad.npy")
        assert result.code == 2
        assert words in result.err
    whole = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "bad.npy").write_bytes(whole[:-1])
    assert "is truncated" in call("predict", out, tmp_path / "bad.npy").err


def test_inputs_alone(tmp_path):
    path = write(tmp_path / "a.npz")
    np.testing.assert_array_equal(load_inputs(path)[0], ARRAYS["x_test"])
    np.savez(path, x=np.eye(3) > 0, x_test=np.ones((2, 3)))
    found, name = load_inputs(path)
    assert (name, found.dtype) == ("x", np.float32)
    np.testing.assert_array_equal(found, np.eye(3))
    np.savez(path, data=np.ones((2, 3)))
    with pytest.raises(InputError, match="holds neither x nor x_test"):
        load_inputs(path)


@pytest.mark.parametrize("load", [load_file, load_inputs])
@pytest.mark.parametrize("name", ["t.csv", "t.CSV", "t.tsv.gz", "t.parquet"])
def test_tables_are_refused_with_the_way_to_an_npz(tmp_path, load, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    np.savetxt(path, np.random.default_rng(1).normal(size=(10, 3)), delimiter=",", header="a,b,c")
    with pytest.raises(InputError, match="is a table") as caught:
        load(path)
    _, _, program = str(caught.value).partition(": ")
    if name.lower() != "t.csv":
        return
    exec(program.replace("FILE", repr(name)))
    if load is load_inputs:
        assert load_inputs("data.npz")[0].shape == (10, 3)
    else:
        data = load_file("data.npz")
        assert (data.features, data.outputs(regression=True)) == (2, 1)
        assert (len(data.train_images), len(data.test_images)) == (8, 2)


def test_one_array_is_refused_with_the_way_to_an_npz(tmp_path):
    np.save(tmp_path / "a.npy", np.ones(3))
    with pytest.raises(
        InputError, match="holds one array alone; put all that is needed into one file, with numpy"
    ):
        load_file(tmp_path / "a.npy")


class Harm:
    def __reduce__(self) -> Any:
        return print, ("harm done",)


def test_objects_are_refused_and_never_unpickled(tmp_path, capsys):
    objects = np.array([Harm()] * 6)
    assert "y_train in" in (sentence := refused(write(tmp_path / "a.npz", y_train=objects)))
    assert "pickled objects" in sentence
    text = "{'descr': '|O', 'fortran_order': False, 'shape': (6,), }"
    pack(tmp_path / "a.npz", x_test=header(text) + pickle.dumps(Harm()))
    assert "pickled objects" in refused(tmp_path / "a.npz")
    assert capsys.readouterr().out == ""


SHAPE = "'fortran_order': False, 'shape': "
BAD = {
    "missing": ({"y_test": None}, "lacks y_test; write it with numpy.savez"),
    "complex": ({"x_train": ARRAYS["x_train"] * 1j}, "numbers of type '<c16'; write it again"),
    "texts": ({"x_train": np.full((6, 2, 3), "a")}, "holds texts; make numbers of them, or leave"),
    "another class": ({"y_train": NAMES, "y_test": np.array(list("hugo"))}, "y_test in"),
    "names for numbers": ({"y_test": NAMES[:4]}, "the label 'Ape', which is none of the classes s"),
    "one class": (
        {"y_train": NAMES[:1].repeat(6), "y_test": NAMES[:1].repeat(4)},
        "names 1 classes",
    ),
    "names twice": (
        {"class_names": np.array(["a", "b", "a"])},
        "names 3 classes, 2 of them differ",
    ),
    "names as numbers": ({"class_names": np.arange(3)}, "class_names in"),
    "too few names": ({"class_names": np.array(["a", "b"])}, "has 3 classes, but 2 class names"),
    "unprintable": (
        {"class_names": np.array(["a", "b", "\x1b"])},
        "holds '\\x1b'; name classes by",
    ),
    "long texts": ({"y_train": np.array(["a" * 1001] * 6)}, "holds texts of 1001 characters; give"),
    "no Unicode": (
        {"y_train": np.array([2**32 - 1, 97, 98, 97, 98, 97], "<u4").view("<U1")},
        "holds texts that are no Unicode",
    ),
    "no UTF-8": ({"y_train": np.array([b"\xff"] * 6)}, "is no .npz file or a damaged one"),
    "records": ({"y_train": np.zeros(6, "u1,u1")}, "a header that cannot be read"),
    "too large": ({"x_test": ARRAYS["x_test"] + np.int16(200)}, "holds numbers from 300 to 323"),
    "negative": ({"x_test": ARRAYS["x_test"] - np.int16(101)}, "holds numbers from -1 to 22"),
    "whole features": ({"x_train": np.zeros((6, 6), int)}, "of type int64, pixels or features"),
    "other kind": ({"x_train": ARRAYS["x_train"] / 255}, "x_train in"),
    "not a number": ({"y_train": np.array([0, 1, np.inf, 0, 1, 2])}, "holds NaN or infinity"),
    "no x_valid": ({"y_valid": ARRAYS["y_test"]}, "holds y_valid and no x_valid; write both"),
    "no y_valid": ({"x_valid": ARRAYS["x_test"]}, "holds x_valid and no y_valid; write both"),
    "another name": ({"x_val": ARRAYS["x_test"]}, "holds 'x_val', and what is read is called x_tr"),
    "weights": ({"w_train": np.zeros(6)}, "holds numbers from 0 to 0; give numbers of at least"),
    "scalar": ({"y_train": np.uint8(1)}, "y_train in"),
    "nothing": ({"y_train": np.zeros(0, "u1")}, "is empty"),
    "counts": ({"y_train": np.zeros(5, "u1")}, "holds 6 images, but y_train in"),
}


@pytest.mark.parametrize(("changes", "fault"), BAD.values(), ids=BAD)
def test_arrays_that_do_not_serve_are_refused(tmp_path, changes, fault):
    assert fault in refused(write(tmp_path / "a.npz", **changes))


LYING = {
    "no array": (b"text", "is not an array that NumPy wrote"),
    "empty": (b" ", "is not an array that NumPy wrote"),
    "newer": (b"\x93NUMPY\x09\0" + bytes(50), "is not an array that NumPy wrote"),
    "header cut": (b"\x93NUMPY\1\0\xff\0{", "cannot be read"),
    "header of 4 GiB": (b"\x93NUMPY\2\0\xff\xff\xff\xff{", "cannot be read"),
    "an expression": (header("{'descr': '|u1', " + SHAPE + "(2*3,)}"), "cannot be read"),
    "a key twice": (header("{'shape': (6,), " + SHAPE + "(6,)}"), "cannot be read"),
    "another key": (header("{'descr': '|u1', 'order': False, 'shape': (6,)}"), "cannot be read"),
    "kinds swapped": (header("{'descr': (6,), " + SHAPE + "'|u1'}"), "cannot be read"),
    "65 dimensions": (header("{'descr': '|u1', " + SHAPE + f"({'1, ' * 65})}}"), "cannot be read"),
    "too few": (header("{'descr': '|u1', " + SHAPE + "(7,)}") + bytes(6), "is truncated"),
    "too many": (header("{'descr': '|u1', " + SHAPE + "(5,)}") + bytes(6), "goes on after"),
    "far too few": (
        header("{'descr': '<i8', " + SHAPE + "(999999999999, 999999999999)}") + bytes(6),
        "is truncated: its header promises 7,999,999,999,984,000,000,000,008 bytes",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("data", "fault"), LYING.values(), ids=LYING)
def test_headers_that_lie_are_refused(tmp_path, data, fault):
    sentence = refused(pack(tmp_path / "a.npz", y_train=data))
    assert sentence.startswith("y_train in ")
    assert fault in sentence


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unusual_compression_is_refused(tmp_path, compression):
    assert "compressed in an unusual way" in refused(pack(tmp_path / "a.npz", compression))


def test_archives_that_lie_are_refused(tmp_path):
    path = pack(tmp_path / "a.npz", zipfile.ZIP_DEFLATED)
    data = path.read_bytes()
    at = data.rindex(b"y_train.npy") - 46
    assert data[at : at + 4] == b"PK\1\2"

    def changed(offset: int, form: str, value: int) -> str:
        other = bytearray(data)
        struct.pack_into(form, other, at + offset, value)
        path.write_bytes(other)
        return refused(path)

    assert "is encrypted" in changed(8, "<H", 1)
    assert "damaged" in changed(16, "<I", 1)  # the checksum
    assert "1,000,000 bytes, which" in changed(24, "<I", 10**6)
    assert "4,294,967,294 bytes, which" in changed(24, "<I", 2**32 - 2)
    assert "goes on after its data" in changed(24, "<I", 136)
    assert "overlap its list" in changed(42, "<I", 10**6)  # where it begins
    assert "overlap" in changed(42, "<I", 0)
    assert "overlap" in changed(20, "<I", 10**6)
    more = write(path, z_test=ARRAYS["y_test"]).read_bytes()
    path.write_bytes(more.replace(b"z_test.npy", b"y_test.npy"))
    assert "more than once" in refused(path)
    for end in range(0, len(data), 7):
        path.write_bytes(data[:end])
        refused(path)
    path.write_bytes(b"")
    assert "is no .npz file or a damaged one" in refused(path)


def test_list_of_contents_is_bounded(tmp_path):
    path = pack(tmp_path / "a.npz")
    with zipfile.ZipFile(path, "a") as archive:
        for number in range(2000):
            archive.writestr(f"{number:09}" * 3, b"")
    assert "its list of contents takes " in refused(path)


def test_an_array_beyond_the_limit_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "INFLATED_LIMIT", 100)
    assert "an array in an .npz file may have 100; give IDX files" in refused(
        write(tmp_path / "a.npz")
    )


def test_memory_that_runs_out_is_told(tmp_path, monkeypatch):
    def fail(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(archive, "_read_values", fail)
    assert "does not fit into memory" in refused(write(tmp_path / "a.npz"))


def test_origin_tells_files_from_folders(tmp_path):
    path = write(tmp_path / "digits.npz")
    assert origin(path).open().name == "digits"
    with pytest.raises(InputError, match=r"digits.npz is not a folder"):
        load_folder(path)
    with pytest.raises(InputError, match=r"cannot read .*: it is a folder"):
        load_file(tmp_path)
    (tmp_path / "text").write_text("text")
    with pytest.raises(InputError, match=r"text is no .npz file"):
        origin(tmp_path / "text").open()


def test_command_line(tmp_path):
    path, out = write(tmp_path / "digits.npz"), tmp_path / "out"
    options = ("--epochs", 1, "--hidden", 3, "--batch-size", 2)
    assert train("--data", path, "--out", out, *options).code == 0
    entry = receipt(out)["data"]
    assert (entry["path"], entry["sha256"]) == (str(path), load_file(path).sha256)
    assert call("evaluate", out, "--data", path).code == 0
    assert call("verify", out).out.splitlines()[-1].startswith("verified: 1 of 1 epoch,")

"""Model files: bitwise there and back, and every hostile file ends in one sentence."""

import json
import pickle
from itertools import count

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from backendmlp.config import Config
from backendmlp.errors import InputError
from backendmlp.runs.modelfile import load_model, save_model
from backendmlp.strictjson import to_json
from backendmlp.tensorfile import FILE_LIMIT, HEADER_LIMIT

SEVEN = ("hidden", "epochs", "batch_size", "lr", "seed", "numerics", "dtype")
METADATA = {
    "config": Config(3, numerics="native").as_dict(),
    "class_names": ["T-shirt/top", "Größe"],
    "image_shape": [2, 3],
}

OLD = {k: METADATA["config"][k] for k in Config().as_dict() if k in SEVEN} | {"hidden": 3}
DATA = {"name": "mnist", "path": "/home/Zoë/mnist", "sha256": "0" * 64}


def network(dtype=np.float32, shapes=((6, 3), (3,), (3, 2), (2,))):
    rng = np.random.default_rng(0)
    values = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    names = (f"{kind}{layer}" for layer in count(1) for kind in "Wb")
    return dict(zip(names, values, strict=False))


def deep(**choices):
    """A network of three layers, and what is said of it."""
    config = Config((3, 4), **choices)
    shapes = ((6, 3), (3,), (3, 4), (4,), (4, 2), (2,))
    return network(np.float64, shapes), {**METADATA, "config": config.as_dict()}


def regression(flat=False, outputs=2):
    config = Config((), loss="squared_error").as_dict()
    about = {"config": config, "class_names": [], "flat": flat, "image_shape": [6]}
    return network(np.float64, ((6, outputs), (outputs,))), about


def settled(**changes):
    """A network whose features were settled."""
    return {**network(np.float64), "unit": 2.0 ** np.arange(-20, -14), **changes}


def document(**changes):
    return json.dumps({"format": 3, **METADATA, **changes})


def changed(**choices):
    return document(config={**METADATA["config"], **choices})


def file_bytes(parameters=None, text=None, **changes):
    """A file as safetensors writes it, unchecked."""
    text = document(**changes) if text is None else text
    return save(network() if parameters is None else parameters, metadata={"backendmlp": text})


def with_header(header, body=b""):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(header).to_bytes(8, "little") + header + body


def header_of(data):
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def body_of(data):
    return data[8 + int.from_bytes(data[:8], "little") :]


def assert_refused(path, data, reason):
    path.write_bytes(data)
    with pytest.raises(InputError, match=reason) as caught:
        load_model(path)
    message = str(caught.value)
    assert message.startswith(f"model file {str(path)!r} ")
    assert "\n" not in message
    assert len(message) < 600


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


class TestRoundTrip:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_bitwise(self, path, dtype):
        saved = network(dtype)
        saved["b1"][:] = [-0.0, np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max]
        save_model(path, saved, METADATA)
        loaded, metadata = load_model(path)
        assert metadata == METADATA
        assert set(loaded) == set(saved)
        for name, array in loaded.items():
            assert (array.dtype, array.shape) == (saved[name].dtype, saved[name].shape)
            assert array.tobytes() == saved[name].tobytes()
            assert array.flags.writeable
            assert array.flags.owndata

    def test_any_layout(self, path):
        saved = network()
        views = {name: np.repeat(array, 2, axis=0)[::2] for name, array in saved.items()}
        views["W1"] = np.asfortranarray(saved["W1"])
        save_model(path, views, METADATA)
        loaded, _ = load_model(path)
        assert all(np.array_equal(loaded[name], saved[name]) for name in saved)

    def test_same_model_same_bytes(self, path, tmp_path):
        save_model(path, network(), METADATA)
        other = tmp_path / "other"
        backwards = dict(reversed(list(network().items())))
        save_model(other, backwards, dict(reversed(list(METADATA.items()))))
        assert path.read_bytes() == other.read_bytes()

    def test_what_is_documented_is_what_is_written(self, path):
        save_model(path, network(), METADATA)
        header = header_of(path.read_bytes())
        said = json.loads(header["__metadata__"]["backendmlp"])
        assert len(said.pop("sha256")) == 64
        assert said == {"format": 3, **METADATA}
        assert header["W1"]["shape"] == [6, 3]

    def test_more_metadata_rides_along(self, path):
        save_model(path, network(), {**METADATA, "digest": "ab"})
        assert load_model(path)[1]["digest"] == "ab"

    @pytest.mark.parametrize("shape", [[6], [1, 2, 3], [2, 3, 1], [6, 1], [1] * 62 + [6]])
    def test_images_of_any_shape(self, path, shape):
        save_model(path, network(), {**METADATA, "image_shape": shape})
        assert load_model(path)[1]["image_shape"] == shape

    def test_the_data_ride_along(self, path):
        for data in (DATA, {**DATA, "path": None}):
            save_model(path, network(), {**METADATA, "data": data, "definition": 1})
            metadata = load_model(path)[1]
            assert metadata["data"] == data
            assert metadata["definition"] == 1

    def test_settled_features_bring_their_unit(self, path):
        saved = settled()
        save_model(path, saved, METADATA)
        loaded, metadata = load_model(path)
        assert loaded["unit"].tobytes() == saved["unit"].tobytes()
        assert metadata == METADATA

    @pytest.mark.parametrize(
        "made", [deep(), deep(optimizer="adam"), regression(True, 1), regression()]
    )
    def test_networks_of_every_kind(self, path, made):
        saved, about = made
        save_model(path, saved, about)
        loaded, metadata = load_model(path)
        assert metadata == about
        assert loaded.keys() == saved.keys()
        assert all(loaded[name].tobytes() == saved[name].tobytes() for name in saved)

    def test_saving_again_what_was_loaded(self, path):
        save_model(path, network(), METADATA)
        before = path.read_bytes()
        save_model(path, *load_model(path))
        assert path.read_bytes() == before


class TestSaveRefuses:
    @pytest.mark.parametrize(
        ("parameters", "metadata", "reason"),
        [
            ({"W1": np.full((6, 3), np.nan, np.float32)}, {}, "NaN or infinite values in W1"),
            ({"b2": np.zeros(4, np.float32)}, {}, "do not fit"),
            ({"b1": np.zeros(3)}, {}, "dtypes float32, float64"),
            ({"W3": np.zeros(3)}, {}, "has the arrays"),
            ({}, {"class_names": ["a"]}, "list of 2 printable"),
            ({}, {"image_shape": [2, 2]}, "6 features"),
            ({}, {"config": {"x": float("nan")}}, "what JSON cannot"),
            ({}, {"config": {"x": np.float32(1)}}, "what JSON cannot"),
            ({}, {"config": {"x": 1}}, r"config that will not do: its config has \['x'\]"),
            ({}, {"config": Config(4).as_dict()}, r"not hidden \[4\]"),
            ({}, {"flat": True}, "nothing may say whether targets are flat"),
            ({}, {"more": "y" * HEADER_LIMIT}, "too large"),
        ],
    )
    def test_what_could_not_be_loaded(self, path, parameters, metadata, reason):
        with pytest.raises(InputError, match=reason) as caught:
            save_model(path, {**network(), **parameters}, {**METADATA, **metadata})
        assert repr(str(path)) in str(caught.value)
        assert not path.exists()

    def test_an_impossible_place(self, tmp_path):
        with pytest.raises(InputError, match="no such file or folder"):
            save_model(tmp_path / "absent" / "model", network(), METADATA)


class TestLoadRefuses:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\0" * 7,
            b"\0" * 8,
            b"\0" * 100,
            b"<!DOCTYPE html><html></html>",
            pickle.dumps({"W1": [1.0]}),
            (1 << 30).to_bytes(8, "little") + b'{"W1":',  # a header that claims a gigabyte
            b"\xff" * 64,
        ],
    )
    def test_no_model_at_all(self, path, data):
        assert_refused(path, data, "not backendmlp's")

    def test_an_archive(self, path):
        assert_refused(path, b"PK\x03\x04 a zip archive of some kind", "is an archive, of data")

    def test_a_header_longer_than_the_file(self, path):
        assert_refused(path, (1000).to_bytes(8, "little") + b"{}", "cut short")

    def test_a_header_over_the_limit_that_is_there(self, path):
        assert_refused(path, with_header(b"{" + b" " * HEADER_LIMIT + b"}"), "not backendmlp's")

    @pytest.mark.parametrize(
        ("header", "reason"),
        [
            (b"[" * 100_000 + b"]" * 100_000, "header that is damaged"),
            (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "header that is damaged"),
            (b"{}", "not backendmlp's"),
            (b"[]", "no JSON object"),
            (b"nonsense", "header that is damaged"),
            (b'{"W1": NaN}', "header that is damaged"),
            (b'{"W1": 1, "W1": 1}', "twice"),
            (b'{"W1": "\xff"}', "header that is damaged"),
            (b"\xef\xbb\xbf{}", "header that is damaged"),
            (b'{"W1": ' + b"9" * 10_000 + b"}", "header that is damaged"),
            (b'{"__metadata__": []}', "not backendmlp's"),
            (b'{"__metadata__": {"format": "pt"}}', "not backendmlp's"),
            (b'{"__metadata__": {"backendmlp": 1}}', "not backendmlp's"),
            (b'{"__metadata__": {"backendmlp": "\\ud800"}}', "header that is damaged"),
        ],
    )
    def test_bad_headers(self, path, header, reason):
        assert_refused(path, with_header(header), reason)

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "header that is empty"),
            ("null", "no JSON object"),
            ("[" * 100_000, "header that is damaged"),
            (document(format=9), r"written by a newer backendmlp \(format 9\); update"),
            (document(format=9).replace("config", "other"), "newer"),  # whatever else it holds
            (document(format=2), "config that will not do"),
            (document(format=2, config=OLD), "it needs .*'unit'"),
            (document(config=OLD), "config that will not do"),
            (document(format=0), "format number"),
            (document(format=True), "format number"),
            (document(format="1"), "format number"),
            (json.dumps(METADATA), "format number"),
            (document(config=[]), "no config"),
            (changed(hidden=3), "hidden"),
            (changed(hidden=[[3]]), "hidden"),
            (changed(hidden=[True]), "hidden is True"),
            (changed(hidden=[3] * 65), "65 layers"),
            (changed(hidden=[3, 3]), "it needs .*'W3', 'b3'"),
            (changed(hidden=[]), "has the arrays"),
            (changed(hidden=[4]), r"not hidden \[4\]"),
            (changed(lr="0.1"), "lr is '0.1'"),
            (changed(lr=-1), "lr is -1"),
            (changed(optimizer=["sgd"]), "optimizer"),
            (changed(optimizer="sdg"), "optimizer is 'sdg'"),
            (changed(momentum=0.5), "optimizer 'sgd' has no use for it"),
            (changed(class_weight=[1, "a"]), "class_weight"),
            (changed(class_weight=[1] * 70_000), "class_weight"),
            (changed(seed=10**4000), "config"),
            (changed(loss="squared_error"), "a regression has no class names"),
            (document(flat=False), "targets are flat"),
            (document(class_names=None), "class_names"),
            (document(class_names=["a"]), "list of 2"),
            (document(class_names=["a", "b", "c"]), "list of 2"),
            (document(class_names="ab"), "list of 2"),
            (document(class_names=["a", 1]), "printable"),
            (document(class_names=["a", " "]), "printable"),
            (document(class_names=["a", "\x1b[2J"]), "printable"),
            (document(class_names=["a", "\ud800"]), "printable"),
            (document(image_shape=None), "image_shape"),
            (document(image_shape=[]), "image_shape"),
            (document(image_shape=[7]), "6 features"),
            (document(image_shape=[1] * 64 + [6]), "image_shape"),
            (document(image_shape=6), "image_shape"),
            (document(image_shape=[2, 4]), "6 features"),
            (document(image_shape=[-2, -3]), "image_shape"),
            (document(image_shape=[2.0, 3]), "image_shape"),
            (document(image_shape=[True, 6]), "image_shape"),
            (document(image_shape=[10**4000, 10**4000]), "image_shape"),
            (document(data=None), "data"),
            (document(data=[]), "data"),
            (document(data={}), "data entry needs name, path and sha256"),
            (document(data={**DATA, "sha256": "0"}), "SHA-256"),
            (document(data={**DATA, "name": None}), "data entry"),
            (document(data={**DATA, "path": 1}), "data entry"),
            (document(data={**DATA, "path": "a" * 40_000}), "data"),
            (document(data={**DATA, "more": 1}), "data entry"),
            (document(definition=0), "definition number"),
            (document(definition=True), "definition number"),
            (document(definition=10**4000), "definition number"),
            (document(definition="1"), "definition number"),
            (document(definition=None), "definition number"),
        ],
    )
    def test_bad_metadata(self, path, text, reason):
        assert_refused(path, file_bytes(text=text), reason)

    @pytest.mark.parametrize(
        ("shapes", "reason"),
        [
            (((6, 3), (4,), (3, 2), (2,)), "do not fit"),
            (((6, 3), (3,), (4, 2), (2,)), "do not fit"),
            (((6, 3), (3,), (3, 2), (3,)), "do not fit"),
            (((6, 4), (4,), (4, 2), (2,)), "do not fit"),
            (((6,), (3,), (3, 2), (2,)), "do not fit"),
            (((6, 3), (3,), (3,), ()), "do not fit"),
            (((6, 0), (0,), (0, 2), (2,)), "do not fit"),
            (((6, 3, 1), (3, 1), (3, 1), (1,)), "do not fit"),
            (((6, 3), (3,), (3, 4), (4,)), "list of 4"),
            (((8, 3), (3,), (3, 2), (2,)), "8 features"),
        ],
    )
    def test_shapes(self, path, shapes, reason):
        assert_refused(path, file_bytes(network(shapes=shapes)), reason)

    @pytest.mark.parametrize("dtype", ["float16", "int64", "bool", "complex64"])
    def test_dtypes(self, path, dtype):
        data = file_bytes({**network(), "b1": np.zeros(3, dtype)})
        assert_refused(path, data, "'b1' of dtype '.*', not F32 or F64")

    def test_mixed_dtypes(self, path):
        assert_refused(path, file_bytes({**network(), "b1": np.zeros(3)}), "float32, float64")

    @pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F128", 7, None, ["F32"]])
    def test_dtypes_that_numpy_has_not(self, path, dtype):
        header = header_of(file_bytes())
        header["W2"]["dtype"] = dtype
        assert_refused(path, with_header(header, body_of(file_bytes())), "'W2' of dtype")

    @pytest.mark.parametrize("name", ["W1", "b1", "W2", "b2"])
    def test_missing_and_extra_tensors(self, path, name):
        parameters = network()
        parameters["other"] = parameters[name]
        assert_refused(path, file_bytes(parameters), "has the arrays")
        del parameters[name]
        assert_refused(path, file_bytes(parameters), "has the arrays")

    @pytest.mark.parametrize(
        ("made", "change", "reason"),
        [
            (regression(True), {}, "its targets may be flat"),
            (regression(), {"flat": None}, "flat None"),
            (regression(), {"flat": 1}, "flat 1"),
            (regression(), {"class_names": ["a", "b"]}, "a regression has no class names"),
            (regression(), {"class_names": None}, "a regression has no class names"),
            (deep(), {"class_names": []}, "list of 2"),
        ],
    )
    def test_other_networks(self, path, made, change, reason):
        parameters, about = made
        text = json.dumps({"format": 3, **about, **change})
        assert_refused(path, file_bytes(parameters, text), reason)

    def test_a_layer_too_many(self, path):
        parameters, about = deep()
        text = json.dumps({"format": 3, **about})
        parameters["W4"], parameters["b4"] = np.ones((2, 2)), np.ones(2)
        assert_refused(path, file_bytes(parameters, text), "has the arrays")

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("name", ["W1", "b1", "W2", "b2"])
    def test_values_that_are_not_finite(self, path, name, value):
        parameters = network()
        parameters[name].flat[-1] = value
        assert_refused(path, file_bytes(parameters), f"NaN or infinite values in {name}")

    @pytest.mark.parametrize(
        ("unit", "reason"),
        [
            (np.zeros(6), "no power of two"),
            (np.full(6, 3.0), "no power of two"),
            (-(2.0 ** np.arange(6)), "no power of two"),
            (np.full(6, np.nan), "no power of two"),
            (np.full(6, np.inf), "no power of two"),
            (np.full(6, 2.0**-1000), "no power of two"),
            (np.full(6, 5e-324), "no power of two"),
            (np.full(6, 2.0**1000), "no power of two"),
            (np.ones(5), r"must be float64 \(6,\)"),
            (np.ones((6, 1)), r"must be float64 \(6,\)"),
            (np.ones(()), r"must be float64 \(6,\)"),
            (np.ones(0), r"must be float64 \(6,\)"),
            (np.ones(6, np.float32), r"must be float64 \(6,\)"),
        ],
    )
    def test_units(self, path, unit, reason):
        assert_refused(path, file_bytes(settled(unit=unit)), reason)

    def test_a_unit_where_none_belongs(self, path):
        assert_refused(path, file_bytes(settled(), format=1, config=OLD), "has the arrays")
        single = {**network(), "unit": np.ones(6)}
        assert_refused(path, file_bytes(single), "beside weights of dtype float32")

    @pytest.mark.parametrize(
        "change",
        [
            {"shape": [2**63, 2]},
            {"shape": [-6, 3]},
            {"shape": [6.0, 3]},
            {"shape": "6"},
            {"data_offsets": [0, 2**62]},
            {"data_offsets": [8, 0]},
            {"data_offsets": None},
        ],
    )
    def test_extents_that_lie(self, path, change):
        header = header_of(file_bytes())
        header["W1"].update(change)
        assert_refused(path, with_header(header, body_of(file_bytes())), "cut short or damaged")

    def test_bytes_after_the_end(self, path):
        assert_refused(path, file_bytes() + b"\0", "damaged")

    def test_every_truncation(self, path):
        data = file_bytes()
        for length in range(0, len(data), 16):
            assert_refused(path, data[:length], "cut short")

    def test_too_large(self, path):
        path.touch()
        with open(path, "r+b") as file:
            file.truncate(FILE_LIMIT + 1)
        with pytest.raises(InputError, match="more than the 1,073,741,824"):
            load_model(path)

    def test_no_such_file(self, path):
        with pytest.raises(InputError, match="no such file"):
            load_model(path)

    def test_a_folder(self, tmp_path):
        with pytest.raises(InputError, match="is a folder; give the file in it"):
            load_model(tmp_path)


def assert_model_or_refusal(path, data):
    path.write_bytes(data)
    try:
        parameters, metadata = load_model(path)
    except InputError:
        return
    assert all(np.isfinite(array).all() for array in parameters.values())
    assert len(metadata["class_names"]) in (parameters["b2"].size, 0)
    assert Config(**metadata["config"]).as_dict() == metadata["config"]


fuzz = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@fuzz
@given(flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4))
def test_changed_bytes(path, flips):
    data = bytearray(file_bytes())
    for place, value in flips:
        data[place % len(data)] = value
    assert_model_or_refusal(path, bytes(data))


@fuzz
@given(data=st.binary(max_size=200))
def test_random_bytes(path, data):
    assert_model_or_refusal(path, data)
    assert_model_or_refusal(path, with_header(data))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@fuzz
@given(
    key=st.sampled_from(["config", "class_names", "image_shape", "format", "data", "definition"]),
    value=json_values,
)
def test_random_metadata(path, key, value):
    assert_model_or_refusal(path, file_bytes(**{key: value}))


@fuzz
@given(tensor=json_values, name=st.sampled_from(["W1", "b2", "__metadata__"]))
def test_random_headers(path, tensor, name):
    header = {**header_of(file_bytes()), name: tensor}
    assert_model_or_refusal(path, with_header(header, body_of(file_bytes())))


@pytest.mark.parametrize(
    "value",
    [{}, {"b": [], "a": {"z": 1, "y": [1.5, None, True]}}, {"e": [{"d": "é", "c": [[1], {}]}, 2]}],
)
def test_one_line_of_json_is_what_the_library_writes(value):
    assert to_json(value) == json.dumps(value, sort_keys=True)

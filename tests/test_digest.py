"""The digest, against a recomputation that shares no code with it."""

import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from backendmlp.digests import digest
from backendmlp.errors import InputError


def recomputed(arrays):
    """The documented format, value by value, out of plain Python numbers."""
    text = b""
    for name in sorted(arrays, key=lambda name: name.encode()):
        array = arrays[name]
        text += name.encode() + b"\0" + struct.pack("<Q", array.ndim)
        text += b"".join(struct.pack("<Q", length) for length in array.shape)
        values = array.ravel(order="C").tolist()
        text += b"".join(struct.pack("<d", float(value)) for value in values)
    return hashlib.sha256(text).hexdigest()


def test_by_hand():
    text = (
        b"b\0" + struct.pack("<3Q2d", 2, 2, 1, 1.5, -2.0) + b"\xc3\xa9\0" + struct.pack("<Qd", 0, 7)
    )
    arrays = {"é": np.array(7), "b": np.array([[1.5], [-2.0]])}
    assert digest(arrays) == hashlib.sha256(text).hexdigest()


def test_of_nothing():
    assert digest({}) == hashlib.sha256(b"").hexdigest()


def test_order_of_insertion_does_not_count():
    a, b = np.arange(3.0), np.ones((2, 2))
    assert digest({"a": a, "b": b}) == digest({"b": b, "a": a})


@pytest.mark.parametrize(
    "change",
    [
        {"a": np.array([0.0, -0.0])},  # the sign of a zero
        {"a": np.array([[0.0, 0.0]])},  # the shape
        {"A": np.array([0.0, 0.0])},  # the name
        {"a": np.array([0.0, 5e-324])},  # the last bit
        {"a": np.array([0.0]), "b": np.array([0.0])},
    ],
)
def test_every_change_counts(change):
    assert digest(change) != digest({"a": np.array([0.0, 0.0])})


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float32", ">f4", ">f8"])
def test_dtype_and_byte_order_do_not_count(dtype):
    values = np.array([[0, 1, 1], [1, 0, 1]])
    assert digest({"x": values.astype(dtype)}) == digest({"x": values.astype("<f8")})


def test_float32_keeps_its_value():
    x = np.array([0.1], dtype=np.float32)
    assert digest({"x": x}) == recomputed({"x": x}) != digest({"x": np.array([0.1])})


def test_layout_does_not_count():
    base = np.arange(24.0).reshape(2, 3, 4)
    for view in (base.T, base[:, ::-1, ::2], np.asfortranarray(base), base[:, 1]):
        assert digest({"x": view}) == digest({"x": view.copy(order="C")}) == recomputed({"x": view})


@pytest.mark.parametrize("size", [65535, 65536, 65537, 200_000])
def test_arrays_longer_than_a_chunk(size):
    x = np.random.default_rng(0).normal(size=(2, size)).T
    assert digest({"x": x}) == recomputed({"x": x})


def test_input_is_left_alone():
    x = np.arange(5, dtype=">i4")
    x.flags.writeable = False
    digest({"x": x})
    assert x.dtype == ">i4"


@given(
    st.dictionaries(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
        hnp.arrays(
            st.sampled_from([np.float64, np.float32, np.int32]),
            hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
        ),
        max_size=3,
    )
)
def test_agrees_with_the_recomputation(arrays):
    assert digest(arrays) == recomputed(arrays)


@pytest.mark.parametrize("values", [[1j], ["a"], [None], np.array(["2020"], dtype="M8[D]")])
def test_refuses_what_is_not_real_numbers(values):
    with pytest.raises(InputError, match="'weights' has dtype"):
        digest({"weights": np.array(values)})


def test_refuses_a_name_with_a_zero_byte():
    with pytest.raises(InputError, match="zero byte"):
        digest({"a\0b": np.zeros(1)})

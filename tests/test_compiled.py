"""The compiled steps: any division among threads, long batches, and what they refuse."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import exact
import golden
import numpy as np
import pytest
import stepping
import threadpoolctl
from tolerances import assert_close

import backendmlp
from backendmlp.arithmetic import Arithmetic, choose
from backendmlp.network import evaluation, model
from backendmlp.network.recipe import Recipe
from backendmlp.steps.blas import openblas
from backendmlp.steps.compiled import library
from backendmlp.steps.definition import Step

GOLDEN = json.loads(golden.FILE.read_text())
NUMPY = backendmlp.select("numpy")
BITWISE = choose("bitwise")
KINDS = [("bitwise", "float64"), ("native", "float32"), ("native", "float64")]


@pytest.fixture(autouse=True)
def compiled(steps):
    return steps


def problem(arithmetic: Arithmetic, hidden: int = 50, count: int = 700, features: int = 60):
    rng = np.random.default_rng(hidden)
    images = rng.integers(0, 256, (count, features), dtype=np.uint8)
    start = stepping.start(features, hidden, 10, seed=hidden)
    parameters = model.settle(arithmetic, start)
    return images, rng.integers(0, 10, count), parameters


def after(step, images, labels, order, size) -> list[np.ndarray]:
    return [*step.advance(images, labels, order, size), *step.parameters.as_dict().values()]


@pytest.mark.parametrize(("numerics", "dtype"), KINDS)
@pytest.mark.parametrize("hidden", [1, 3, 37, 96])
@pytest.mark.parametrize("size", [1, 60, 128, 129, 300, 1000])
def test_many_batches_at_once(compiled, numerics, dtype, hidden, size):
    """Batches within and beyond what is converted at one time, with a short last one."""
    arithmetic = choose(numerics, dtype)
    images, labels, p = problem(arithmetic, hidden)
    order = np.random.default_rng(0).permutation(700)[: min(700, 5 * size + size // 2 + 1)]
    expected = after(stepping.defined(arithmetic, p, 0.1), images, labels, order, size)
    found = after(stepping.quick(arithmetic, p, 0.1, images), images, labels, order, size)
    for one, two in zip(found, expected, strict=True):
        if numerics == "bitwise":
            assert exact.bits(one) == exact.bits(two)
        else:
            assert_close(one, two, dtype, "run")


@pytest.mark.parametrize(
    ("numerics", "dtype", "scale"),
    [*((*kind, 1.0) for kind in KINDS), *(("bitwise", "float64", 2.0**k) for k in (23, 600))],
)
def test_scores_are_those_of_the_definition_and_nothing_is_learned(
    compiled, numerics, dtype, scale
):
    arithmetic = choose(numerics, dtype)
    images, labels, p = problem(arithmetic)
    p = model.settle(arithmetic, {name: value * scale for name, value in p.as_dict().items()})
    step = stepping.quick(arithmetic, p, 0.1, images)
    with np.errstate(all="ignore"):
        found = step.score(images, labels)
        expected = evaluation.score(Recipe(arithmetic), p, images, labels)
    both = zip((*found.parts, found.outputs), (*expected.parts, expected.outputs), strict=True)
    for number, (one, two) in enumerate(both):
        assert one.dtype == two.dtype
        if numerics == "bitwise":
            assert exact.bits(one) == exact.bits(two), number
        else:
            assert_close(one, two, dtype, "run")
    for name, value in p.as_dict().items():
        assert np.array_equal(step.parameters.as_dict()[name], value)


def test_other_images_are_scored_too(compiled):
    images, labels, p = problem(BITWISE)
    step = stepping.quick(BITWISE, p, 0.1, images)
    expected = step.score(images, labels).outputs
    found = step.score(np.asfortranarray(images), labels).outputs
    assert exact.bits(found) == exact.bits(expected)
    assert step.score(images / 255.0, labels).outputs == pytest.approx(expected, abs=1e-6)


def test_weights_in_another_order_of_memory_are_the_same_weights(compiled):
    images, labels, p = problem(BITWISE)
    other = model.Parameters.of({k: np.asfortranarray(v) for k, v in p.as_dict().items()})
    steps = [stepping.quick(BITWISE, given, 0.1, images) for given in (p, other)]
    expected, found = (after(step, images, labels, np.arange(100), 32) for step in steps)
    assert list(map(exact.bits, found)) == list(map(exact.bits, expected))


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_any_number_of_threads_gives_the_same_bits(compiled, threads):
    images, labels, p = problem(BITWISE, hidden=100)
    order = np.arange(700)
    expected = after(stepping.defined(BITWISE, p, 0.1), images, labels, order, 64)
    with threadpoolctl.threadpool_limits(threads, "blas"):
        step = stepping.quick(BITWISE, p, 0.1, images)
        assert step.step.groups == threads
        found = after(step, images, labels, order, 64)
        assert openblas().threads == threads
    assert list(map(exact.bits, found)) == list(map(exact.bits, expected))


def test_few_units_are_not_divided(compiled):
    images, _, p = problem(BITWISE, hidden=15)
    with threadpoolctl.threadpool_limits(4, "blas"):
        assert stepping.quick(BITWISE, p, 0.1, images).step.groups == 1


def test_trainings_side_by_side(compiled):
    images, labels, p = problem(BITWISE, hidden=100)
    order = np.tile(np.arange(700), 5)
    expected = exact.bits(after(stepping.defined(BITWISE, p, 0.1), images, labels, order, 64)[2])
    found, before = [], openblas().threads

    def train():
        step = stepping.quick(BITWISE, p, 0.1, images)
        found.append(exact.bits(after(step, images, labels, order, 64)[2]))

    threads = [threading.Thread(target=train) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4
    assert openblas().threads == before


@pytest.mark.skipif(sys.platform != "linux", reason="the memory's size is read where Linux says it")
@pytest.mark.slow
def test_calls_leave_no_memory_behind(compiled):
    """What describes new threads was once not given back: 300 bytes a call, 6 MB in this many."""
    images, labels, p = problem(BITWISE, count=64, features=20)
    order = np.arange(64)
    with threadpoolctl.threadpool_limits(2, "blas"):
        step = stepping.quick(BITWISE, p, 0.1, images)

    def kilobytes_after(calls: int) -> int:
        for _ in range(calls):
            step.advance(images, labels, order, 64)
        return 4 * int(Path("/proc/self/statm").read_text().split()[1])

    before = kilobytes_after(1000)
    assert kilobytes_after(20_000) - before < 2000


def test_a_label_that_is_no_class_is_none_as_in_the_definition(compiled):
    images, labels, p = problem(BITWISE)
    labels[::3], labels[1::3] = 10, -1
    steps = stepping.defined(BITWISE, p, 0.1), stepping.quick(BITWISE, p, 0.1, images)
    expected, found = (after(step, images, labels, np.arange(100), 32) for step in steps)
    assert list(map(exact.bits, found)) == list(map(exact.bits, expected))


@pytest.mark.parametrize("order", [[0, 700], [-1, 5]])
def test_an_order_outside_the_images_is_refused(compiled, order):
    images, labels, p = problem(BITWISE)
    step = stepping.quick(BITWISE, p, 0.1, images)
    with pytest.raises(IndexError):
        step.advance(images, labels, np.array(order), 2)


def test_parameters_that_do_not_fit_each_other_are_refused(compiled):
    images, _, p = problem(BITWISE)
    short = stepping.with_arrays(p, W2=p.weights[1][:-1])
    with pytest.raises(ValueError, match="shape"):
        stepping.quick(BITWISE, short, 0.1, images)


def test_labels_and_order_may_be_strided_or_of_another_kind(compiled):
    images, labels, p = problem(BITWISE)
    order = np.arange(600)
    expected = after(stepping.quick(BITWISE, p, 0.1, images), images, labels, order, 64)
    strided = np.stack([labels, labels + 1], axis=1).astype(np.int32)[:, 0]
    backwards = order[::-1].copy().astype(np.uint16)[::-1]
    step = stepping.quick(BITWISE, p, 0.1, images)
    found = after(step, images, strided, backwards, 64)
    assert list(map(exact.bits, found)) == list(map(exact.bits, expected))


LAYOUTS = {
    "Fortran": np.asfortranarray,
    "every second row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "every second column": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "backwards": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
    "other byte order": lambda x: x.astype(x.dtype.newbyteorder()),
    "unaligned": lambda x: np.frombuffer(b"-" + x.tobytes(), x.dtype, offset=1).reshape(x.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_images_may_lie_in_any_way(compiled, layout, dtype):
    """Once they had to lie row by row when a step was made, and nobody looked again."""
    arithmetic = BITWISE if dtype == "uint8" else choose("native", dtype)
    images, labels, p = problem(arithmetic)
    images = images.astype(dtype)
    order = np.arange(600)[::-1]
    given = LAYOUTS[layout](images)
    given.flags.writeable = False
    made_of = [(images, images), (images, given), (given, given)]
    expected, *found = (
        after(stepping.quick(arithmetic, p, 0.1, first), then, labels, order, 64)
        for first, then in made_of
    )
    for one in found:
        assert [x.tobytes() for x in one] == [x.tobytes() for x in expected]
    scores = stepping.quick(arithmetic, p, 0.1, given).score(given, labels)
    assert_close(scores.parts[0], evaluation.score(Recipe(arithmetic), p, images, labels).parts[0],
                 arithmetic.dtype, "run")  # fmt: skip


def test_one_row_for_all_images_is_read_where_it_lies(compiled):
    images, labels, p = problem(BITWISE)
    same = np.broadcast_to(images[0], images.shape)  # a stride of zero
    order = np.arange(700)
    expected = after(stepping.defined(BITWISE, p, 0.1), same, labels, order, 64)
    found = after(stepping.quick(BITWISE, p, 0.1, images), same, labels, order, 64)
    assert list(map(exact.bits, found)) == list(map(exact.bits, expected))


@pytest.mark.parametrize("size", [2**31, 2**53, 2**63, 2**64, 2**64 + 7])
@pytest.mark.parametrize(("numerics", "dtype"), KINDS)
def test_batches_larger_than_c_can_count_are_batches_of_all(compiled, numerics, dtype, size):
    """They were a floating point exception, a training that hung, or batches of 7."""
    arithmetic = choose(numerics, dtype)
    images, labels, p = problem(arithmetic, count=50)
    order = np.arange(50)
    expected, found = (
        after(stepping.quick(arithmetic, p, 0.1, images), images, labels, order, given)
        for given in (50, size)
    )
    assert [x.tobytes() for x in found] == [x.tobytes() for x in expected]
    if size > 2**53:  # what no machine can hold is refused before
        with pytest.raises(backendmlp.InputError, match="batch_size"):
            backendmlp.MLP(8, batch_size=size)
        return
    digests = [
        backendmlp.MLP(8, epochs=1, batch_size=given, numerics=numerics, dtype=dtype)
        .fit(images, labels)
        .history[0]
        .weights_sha256
        for given in (50, size)
    ]
    assert digests[0] == digests[1]


@pytest.mark.parametrize(("numerics", "dtype"), KINDS)
def test_what_makes_no_step_is_refused_and_nothing_to_do_is_nothing(compiled, numerics, dtype):
    arithmetic = choose(numerics, dtype)
    images, labels, p = problem(arithmetic)
    step = stepping.quick(arithmetic, p, 0.1, images)
    for size in (0, -1):
        with pytest.raises(ValueError, match="at least 1"):
            step.advance(images, labels, np.arange(10), size)
    for wrong in (images[:, :-1], images[:5], images.astype(np.int16)):
        with pytest.raises(IndexError, match=r"inputs|order"):
            step.advance(wrong, labels, np.arange(10), 5)
    for one in (step, stepping.defined(arithmetic, p, 0.1)):
        totals, picked = one.advance(images, labels, np.arange(0), 5)
        assert totals.shape == picked.shape == (0,)
        assert totals.dtype == picked.dtype == dtype
    for name, value in p.as_dict().items():
        assert np.array_equal(step.parameters.as_dict()[name], value)
    with pytest.raises(ValueError, match="no network"):
        stepping.quick(arithmetic, stepping.with_arrays(p, W1=p.weights[0][:0]), 0.1, images)


def test_work_that_no_memory_holds_is_refused_before_it_begins(compiled):
    images, labels, p = problem(BITWISE)
    step = stepping.quick(BITWISE, p, 0.1, images)
    step.step._held.sizes = (60, 2**60, 10)
    with pytest.raises(MemoryError):
        step.advance(images, labels, np.arange(600), 600)


def test_images_of_another_kind_are_left_to_the_definition(compiled):
    images, _, p = problem(BITWISE)
    native = choose("native", "float32")
    assert not compiled.possible(Recipe(native), p, images.astype(np.float64))
    assert type(stepping.chosen(NUMPY, native, p, 0.1, images.astype(np.float64)).step) is Step


@pytest.mark.parametrize(("dtype", "rate"), [("float32", 1e30), ("float64", 1e300)])
def test_a_native_training_that_diverges_ends_in_nan_and_no_crash(compiled, dtype, rate):
    native = choose("native", dtype)
    images, labels, p = problem(native)
    step = stepping.quick(native, model.settle(native, p.as_dict()), rate, images)
    totals, _ = step.advance(images, labels, np.arange(700), 64)
    assert not np.isfinite(totals).all()


def test_where_no_thread_can_be_had_it_is_said(compiled, monkeypatch):
    images, labels, p = problem(BITWISE)
    step = stepping.quick(BITWISE, p, 0.1, images)
    refusing = Refusing(library.library())
    monkeypatch.setattr(library, "library", lambda: refusing)
    with pytest.raises(MemoryError, match="threads"):
        step.advance(images, labels, np.arange(10), 5)


def test_a_library_of_another_version_is_not_used(compiled, monkeypatch):
    monkeypatch.setattr(ctypes, "sizeof", lambda structure: 0)
    assert library.library.__wrapped__() is None


class Refusing:
    """The library, but that its steps say they found no threads."""

    def __init__(self, library) -> None:
        self.workspace_bitwise = library.workspace_bitwise

    def steps_bitwise(self, job) -> int:
        return 1


def test_it_can_be_left_out():
    code = "from backendmlp.steps import compiled; print(compiled.available())"
    package = Path(backendmlp.__file__).parents[1]
    environment = {**os.environ, "BACKENDMLP_COMPILED": "0", "PYTHONPATH": str(package)}
    command = [sys.executable, "-c", code]
    assert subprocess.check_output(command, env=environment, text=True) == "False\n"


FLAGS = [
    ("-O0",),
    ("-O1", "-DCLONED="),  # the plainest processor
    ("-O2",),
    ("-O3", "-march=native", "-funroll-loops", "-DCLONED="),
]


@pytest.fixture
def build(compiled, tmp_path, monkeypatch):
    """Have the steps compiled by ``flags`` from here on."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        pytest.skip("there is no C compiler at hand")

    def with_flags(*flags: str) -> None:
        source, built = Path(compiled.__file__).parent / "step.c", tmp_path / "step.so"
        command = [compiler, "-std=gnu11", *flags, "-fPIC", "-shared", "-pthread", "-Wall",
                   "-Wextra", "-Werror", str(source), "-o", str(built), "-lm"]  # fmt: skip
        subprocess.run(command, check=True)
        loaded = ctypes.CDLL(str(built))
        monkeypatch.setattr(library, "library", lambda: loaded)

    return with_flags


@pytest.mark.parametrize("flags", FLAGS, ids=" ".join)
@pytest.mark.slow
def test_any_optimisation_gives_the_same_bits(build, flags):
    build("-ffp-contract=off", *flags)
    for case in ("sample", "wide"):
        assert golden.run(case) == GOLDEN[case]


@pytest.mark.slow
def test_a_contracted_product_and_sum_would_be_noticed(build):
    """So the flag in pyproject.toml is needed, and the golden digests see that it stays."""
    build("-ffp-contract=fast", "-O3", "-march=native", "-DCLONED=")
    if golden.run("sample") == GOLDEN["sample"]:
        pytest.skip("this compiler or processor contracts nothing")


def test_fast_mathematics_is_refused(build):
    with pytest.raises(subprocess.CalledProcessError):
        build("-ffast-math")

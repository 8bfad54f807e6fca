"""Compiled steps divided among threads: hidden units among groups, a batch's rows within them."""

from __future__ import annotations

import json

import exact
import golden
import numpy as np
import pytest
import stepping
import threadpoolctl
from tolerances import assert_close

from backendmlp.arithmetic import choose
from backendmlp.network import evaluation, model
from backendmlp.network.recipe import Recipe
from backendmlp.steps.compiled.steps import CompiledStep

BITWISE = choose("bitwise")
GOLDEN = json.loads(golden.FILE.read_text())
DIVISIONS = [(1, 2), (1, 16), (2, 2), (3, 5), (8, 2), (16, 1)]
SHAPES = [(1, 16, 1), (3, 17, 2), (300, 37, 10)]


def problem(shape: tuple[int, int, int], inputs: str, count: int = 200):
    features, hidden, classes = shape
    rng = np.random.default_rng(sum(shape))
    start, unit = stepping.start(features, hidden, classes, seed=1), None
    images = rng.integers(0, 256, (count, features), dtype=np.uint8)
    if inputs == "features":
        images = rng.integers(-(2**17), 2**17, (count, features)).astype(np.int32)
        unit = 2.0 ** rng.integers(-20, -10, features)
    return images, rng.integers(0, classes, count), model.settle(BITWISE, start, unit)


def after(step, images, labels, order, size: int) -> list[np.ndarray]:
    with np.errstate(all="ignore"):
        found = step.advance(images, labels, order, size)
    return [*found, *step.parameters.as_dict().values()]


@pytest.mark.parametrize("inputs", ["pixels", "features"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("division", DIVISIONS)
@pytest.mark.slow
def test_every_division_gives_the_bits_of_the_definition(steps, division, shape, inputs):
    """Also where a thread has no row, where steps have one, and at rates that go wild."""
    images, labels, p = problem(shape, inputs)
    order = np.random.default_rng(0).permutation(200)
    for size, rate in ((7, 0.1), (64, 30.0), (190, 1e4), (1, 0.1)):
        some = order[:5] if size == 1 else order
        step = stepping.quick(BITWISE, p, rate, images, division)
        assert step.step.groups == division[0]
        found, expected = (
            after(each, images, labels, some, size)
            for each in (step, stepping.defined(BITWISE, p, rate))
        )
        assert list(map(exact.bits, found)) == list(map(exact.bits, expected)), size
    scores = step.score(images, labels).outputs
    defined = evaluation.score(Recipe(BITWISE), step.parameters, images, labels).outputs
    assert exact.bits(scores) == exact.bits(defined)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("division", DIVISIONS)
@pytest.mark.slow
def test_native_divisions_agree_and_repeat_their_bits(steps, division, dtype):
    native = choose("native", dtype)
    images, labels, p = problem((60, 37, 10), "pixels")
    p = model.settle(native, {k: v.astype(dtype) for k, v in p.as_dict().items()})
    order = np.random.default_rng(0).permutation(200)
    for size in (7, 64, 190):
        expected = after(stepping.defined(native, p, 0.1), images, labels, order, size)
        one, two = (
            after(stepping.quick(native, p, 0.1, images, division), images, labels, order, size)
            for _ in range(2)
        )
        assert [x.tobytes() for x in one] == [x.tobytes() for x in two]
        for found, wanted in zip(one, expected, strict=True):
            assert_close(found, wanted, dtype, "run")


def test_a_batch_longer_than_what_is_converted_at_one_time(steps):
    shape = (784, 24, 10)  # 334 rows of float64 at one time
    images, labels, p = problem(shape, "pixels", 1500)
    order = np.arange(1500)[::-1]
    expected = after(stepping.defined(BITWISE, p, 0.1), images, labels, order, 1400)
    for division in ((1, 3), (2, 2), (1, 6)):
        step = stepping.quick(BITWISE, p, 0.1, images, division)
        found = after(step, images, labels, order, 1400)
        assert list(map(exact.bits, found)) == list(map(exact.bits, expected))


@pytest.mark.parametrize(
    ("threads", "features", "hidden", "size", "division"),
    [
        (2, 784, 100, 1024, (1, 2)),
        (16, 784, 100, 512, (4, 2)),
        (16, 784, 100, 1024, (2, 8)),
        (16, 784, 30, 1024, (2, 2)),
        (4, 784, 15, 256, (1, 1)),
        (4, 3000, 15, 256, (1, 2)),
        (4, 3000, 15, 1024, (1, 4)),
        (4, 20000, 15, 127, (1, 1)),
    ],
)
def test_units_are_divided_while_batches_are_small_and_rows_of_large_ones(
    steps, threads, features, hidden, size, division
):
    images, labels, p = problem((features, hidden, 3), "pixels", size)
    with threadpoolctl.threadpool_limits(threads, "blas"):
        step = stepping.quick(BITWISE, p, 0.1, images)
    found = after(step, images, labels, np.arange(size), size)
    assert (step.step.groups, step.step._job.threads) == (division[0], division[0] * division[1])
    expected = after(stepping.defined(BITWISE, p, 0.1), images, labels, np.arange(size), size)
    assert list(map(exact.bits, found)) == list(map(exact.bits, expected))


def test_steps_go_on_in_another_division_when_batches_change_size(steps):
    images, labels, p = problem((784, 40, 10), "pixels", 600)
    expected = stepping.defined(BITWISE, p, 0.1)
    with threadpoolctl.threadpool_limits(2, "blas"):
        step = stepping.quick(BITWISE, p, 0.1, images)
    for size, groups in ((64, 2), (600, 1), (60, 2)):
        order = np.arange(600)[::-1]
        one, two = (after(each, images, labels, order, size) for each in (step, expected))
        assert step.step.groups == groups
        assert list(map(exact.bits, one)) == list(map(exact.bits, two))


def test_native_bits_do_not_depend_on_where_calls_end(steps):
    """A call may begin with the short last batch: an interrupted training's does."""
    native = choose("native", "float32")
    images, labels, p = problem((784, 40, 10), "pixels", 600)
    p = model.settle(native, {k: v.astype("float32") for k, v in p.as_dict().items()})
    with threadpoolctl.threadpool_limits(2, "blas"):
        whole, parted = (stepping.quick(native, p, 0.1, images) for _ in range(2))
    after(whole, images, labels, np.arange(600), 512)
    for order in (np.arange(512), np.arange(512, 600)):
        after(parted, images, labels, order, 512)
    assert (whole.step._job.threads, parted.step.groups) == (2, 1)
    for one, two in zip(
        whole.parameters.as_dict().values(), parted.parameters.as_dict().values(), strict=True
    ):
        assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("case", ["sample", "wide"])
@pytest.mark.parametrize("division", [(1, 2), (2, 3), (8, 2)])
def test_the_golden_digests_in_any_division(steps, monkeypatch, case, division):
    made = CompiledStep.__init__

    def divided(self, *given) -> None:
        made(self, *given[:3], division)

    monkeypatch.setattr(CompiledStep, "__init__", divided)
    assert golden.run(case) == GOLDEN[case]

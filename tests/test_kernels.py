"""The kernels' source, compiled by g++ and run by threads of the processor: the definition's bits.

Whatever the number of blocks and of threads in a block, the tiles that products are divided into,
and who does which part of the work; as one kernel for all steps or as one for each phase; with
sizes and choices read from the job, so that one library serves many cases, or as constants, as on a
GPU.  What only a GPU can show is for the tests of CuPy on one; ``test_kernels_races.py`` looks for
races, ``test_nvrtc.py`` at what NVIDIA's compiler makes of the source.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import golden
import numpy as np
import pytest
import test_same_bits as same
from conftest import needs_kernels
from kernels.on_cpu import OnCpu

from backendmlp.arithmetic import choose as arithmetic_of
from backendmlp.backend import Backend
from backendmlp.features import feature_unit, settled
from backendmlp.network import evaluation, model
from backendmlp.network.evaluation import Scores
from backendmlp.network.initial import initial
from backendmlp.network.losses import CrossEntropy, SquaredError, classes
from backendmlp.network.optimizers import Adam, Coefficients, Descent
from backendmlp.network.recipe import ACTIVATIONS, Learned, Recipe
from backendmlp.steps import choose, kernels
from backendmlp.steps.definition import Step
from backendmlp.steps.kernels import job, scoring
from backendmlp.steps.kernels.step import KernelStep
from backendmlp.steps.scoring import Scorer
from backendmlp.steps.stepper import Rows, Stepper

pytestmark = needs_kernels
GOLDEN = json.loads(golden.FILE.read_text())


@pytest.fixture(autouse=True)
def few_rows_at_a_time(monkeypatch):
    """So that what is scored takes several steps, and some of it several launches."""
    monkeypatch.setattr(scoring, "_BATCH", 32)
    monkeypatch.setattr(scoring, "_STEPS", 2)
    monkeypatch.setattr(scoring, "_FEWEST", 1)


class Made:
    """What makes steps by kernels, and counts them; of what they cannot do, the definition."""

    def __init__(self, device: OnCpu, apart: bool = False) -> None:
        self.device, self.apart, self.count = device, apart, 0

    def __call__(
        self, at: Backend, recipe: Recipe, learned: Learned, rows: Rows, *_: Any
    ) -> Stepper:
        if not kernels.possible(recipe, learned.parameters, rows.inputs):
            return Step(recipe, learned)
        self.count += 1
        return KernelStep(self.device, recipe, learned, rows, self.apart)


# By layers, what is compiled for the quick tests: one library for each, and all shapes.
SHAPES = {1: 1, 2: 0, 3: 3, 4: 2, 6: 1}
APART = {1: False, 2: True, 3: False, 4: True, 6: False}

# Blocks, threads of each, shape, apart, constant sizes.
DIGESTS = {"sample": (1, 1, 0, True, False), "regression": (3, 1, 0, True, False)}
OTHERS = (
    ("three layers", (2, 1, 3, False, False)),
    ("three layers", (1, 3, 3, False, False)),
    ("features", (2, 2, 0, True, False)),
    ("features", (1, 1, 2, False, True)),
)


@pytest.mark.parametrize(
    ("case", "how"),
    [
        ("sample", DIGESTS["sample"]),
        ("regression", DIGESTS["regression"]),
        *(pytest.param(case, how, marks=pytest.mark.slow) for case, how in OTHERS),
        pytest.param("sample", (3, 2, 3, False, True), marks=pytest.mark.slow),
        pytest.param("wide", (2, 1, 3, False, False), marks=pytest.mark.slow),
        pytest.param("wide", (1, 1, None, True, True), marks=pytest.mark.slow),
    ],
)
def test_the_golden_digests(monkeypatch, case, how):
    blocks, threads, shape, apart, fixed = how
    made = Made(OnCpu(blocks, threads, fixed, shape=shape), apart)
    monkeypatch.setattr(choose, "stepper", made)
    assert golden.run(case) == GOLDEN[case]
    assert made.count >= 1


def compare(case: same.Case, made: Made) -> None:
    """Undisturbed, and killed: here to go on by the definition, and the other way round."""
    at, expected = same.numpy(), same.expected_of(case.number)
    same.assert_same(case, same.trained(case, at, made), expected)
    same.assert_same(case, same.trained(case, at, made, (at, same.defined)), expected)
    same.assert_same(case, same.trained(case, at, same.defined, (at, made)), expected)


def layers_of(case: same.Case) -> int:
    return len(case.config().hidden) + 1


DIVISIONS = ((1, 1), (2, 1), (1, 2), (3, 1), (2, 3))


@pytest.mark.filterwarnings("ignore:feature column")
@pytest.mark.filterwarnings("ignore:.*were clipped")
class TestTheSameBits:
    """Of whatever is drawn in ``test_same_bits.py``."""

    @pytest.mark.slow
    @pytest.mark.parametrize("number", range(12))
    def test_of_a_dozen(self, number):
        (case,) = same.cases(number, 1)
        layers, division = layers_of(case), DIVISIONS[number % len(DIVISIONS)]
        made = Made(OnCpu(*division, shape=SHAPES[layers]), APART[layers])
        compare(case, made)
        assert bool(made.count) == (case.drawn["inputs"] != "floats, not settled")

    @pytest.mark.long
    @pytest.mark.parametrize("apart", [False, True])
    @pytest.mark.parametrize("shape", range(4))
    def test_of_many(self, shape, apart):
        for case in same.cases(30 * shape, 30):
            made = Made(OnCpu(*DIVISIONS[case.number % 5], shape=shape), apart)
            compare(case, made)

    @pytest.mark.slow
    @pytest.mark.parametrize("shape", [0, 2])
    def test_with_work_divided_in_another_order(self, shape):
        for case in same.cases(120, 24):
            if layers_of(case) in (2, 3):
                compare(case, Made(OnCpu(2, 3, flags=("-DSHUFFLED",), shape=shape)))

    @pytest.mark.slow
    def test_with_constant_sizes(self):
        for case in same.cases(144, 12):
            compare(case, Made(OnCpu(2, 1, fixed=True), apart=case.number % 2 == 0))


# Steps one by one.

SIZES, ROWS = (21, 30, 6), 90


def given(
    arithmetic: Any, kind: str, sizes: tuple[int, ...] = SIZES
) -> tuple[Learned, Recipe, Rows]:
    """Adam with all that may be had beside it, for rows of a ``kind``."""
    rng = np.random.default_rng(5)
    optimizer = Adam(0.9, 0.999, 1e-8)
    recipe = replace(Recipe(arithmetic), optimizer=optimizer, l2=0.01, clip_norm=0.5)
    shape, unit = (ROWS, sizes[0]), None
    if kind == "pixels":
        inputs = rng.integers(0, 256, shape, dtype=np.uint8)
    else:
        inputs = rng.normal(size=shape).astype(arithmetic.dtype)
    if kind == "features":
        unit = feature_unit(inputs)
        inputs = settled(inputs, unit)
    p = model.settle(arithmetic, initial(sizes, "relu", 3), unit)
    weights = rng.exponential(size=ROWS).astype(arithmetic.dtype)
    rows = Rows(inputs, rng.integers(0, sizes[-1], ROWS), weights)
    return Learned.begin(recipe, p), recipe, rows


def coefficients(recipe: Recipe, before: int, steps: int) -> Coefficients:
    return recipe.optimizer.coefficients(np.full(steps, 0.01), before, 0.003)


def went(step: Any, recipe: Recipe, rows: Rows, sizes: tuple[int, ...]) -> Iterator[np.ndarray]:
    """All that comes of one call of ``advance`` for each size of batches, and of scores after."""
    rng, before = np.random.default_rng(8), 0
    for size in sizes:
        order = rng.permutation(ROWS)[:70]
        steps = -(-len(order) // size)
        yield from step.advance(rows, order, size, coefficients(recipe, before, steps))
        yield from step.learned.as_dict(recipe).values()
        scores = step.score(rows.inputs, rows.targets)
        yield from (*scores.parts, scores.outputs)
        before += steps


CHANGING = (16, 7, 16, 1000, 69, 70)


@pytest.mark.parametrize("kind", ["pixels", "features"])
def test_sizes_of_batches_that_change_between_calls(kind):
    learned, recipe, rows = given(arithmetic_of("bitwise", "float64"), kind)
    expected = list(went(Step(recipe, learned), recipe, rows, CHANGING))
    step = KernelStep(OnCpu(2, 1, shape=0), recipe, learned, rows, apart=True)
    found = list(went(step, recipe, rows, CHANGING))
    assert len(found) == len(expected)
    assert [x.tobytes() for x in found] == [x.tobytes() for x in expected]


def test_no_rows_are_no_steps():
    learned, recipe, rows = given(arithmetic_of("bitwise", "float64"), "pixels")
    step = KernelStep(OnCpu(1, 1, shape=0), recipe, learned, rows, apart=True)
    parts = step.advance(rows, np.arange(0), 16, coefficients(recipe, 0, 0))
    assert [x.shape for x in parts] == [(0,), (0,)]
    for name, value in step.learned.as_dict(recipe).items():
        assert value.tobytes() == learned.as_dict(recipe)[name].tobytes(), name


@pytest.mark.parametrize("kind", ["pixels", "own"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_native_numbers_are_the_definitions_but_for_rounding(dtype, kind):
    learned, recipe, rows = given(arithmetic_of("native", dtype), kind)
    expected = list(went(Step(recipe, learned), recipe, rows, (16, 16)))
    found = [native(recipe, learned, rows, *division) for division in ((2, 1), (2, 1), (2, 3))]
    # Adam divides by what is near zero, which makes much of rounding: the first steps are compared.
    for one, other in zip(found[0], expected, strict=True):
        near = 2e-3 if dtype == "float32" else 1e-9
        np.testing.assert_allclose(one, other, rtol=near, atol=near)
        assert one.dtype == other.dtype
    for other in found[1:]:  # and from run to run, whatever the threads
        assert [x.tobytes() for x in other] == [x.tobytes() for x in found[0]]


def native(recipe: Recipe, learned: Learned, rows: Rows, blocks: int, threads: int) -> list[Any]:
    step = KernelStep(OnCpu(blocks, threads, shape=1), recipe, learned, rows, apart=False)
    return list(went(step, recipe, rows, (16, 16)))


# Which is chosen.


def chosen(numerics: str, dtype: str, sizes: tuple[int, ...], inputs: np.ndarray) -> str:
    """The name of the step that a backend with kernels takes."""
    arithmetic = arithmetic_of(numerics, dtype)
    at = replace(same.numpy(), in_memory=False, kernels=OnCpu())
    recipe = replace(Recipe(arithmetic), optimizer=Descent())
    learned = Learned.begin(recipe, model.settle(arithmetic, initial(sizes, "relu", 1), None))
    return choose.stepper(at, recipe, learned, Rows(inputs, np.zeros(len(inputs), np.int64))).name


def test_what_the_kernels_cannot_do_falls_to_the_definition(monkeypatch):
    pixels = np.zeros((4, 5), np.uint8)
    most = job.MOST_LAYERS
    assert chosen("bitwise", "float64", (5, *(2,) * most), pixels) == "kernels"
    assert chosen("bitwise", "float64", (5, *(2,) * (most + 1)), pixels) == "definition"
    assert chosen("bitwise", "float64", (5, job.MOST_OUTPUTS), pixels) == "kernels"
    assert chosen("bitwise", "float64", (5, job.MOST_OUTPUTS + 1), pixels) == "definition"
    for dtype, other in (("float32", "float64"), ("float64", "float32")):
        assert chosen("native", dtype, (5, 2), pixels) == "kernels"
        assert chosen("native", dtype, (5, 2), pixels.astype(dtype)) == "kernels"
        assert chosen("native", dtype, (5, 2), pixels.astype(other)) == "definition"
    assert chosen("bitwise", "float64", (5, 2), pixels.astype(float)) == "definition"
    monkeypatch.setenv("BACKENDMLP_KERNELS", "0")
    assert chosen("bitwise", "float64", (5, 2), pixels) == "definition"


@pytest.mark.slow
def test_the_most_layers_are_computed_as_defined():
    """A job as large as they come, whose structure must be the one that g++ lays out."""
    sizes = (5, *(3,) * (job.MOST_LAYERS - 1), 2)
    arithmetic = arithmetic_of("bitwise", "float64")
    recipe = replace(Recipe(arithmetic), optimizer=Descent())
    learned = Learned.begin(recipe, model.settle(arithmetic, initial(sizes, "tanh", 1), None))
    rng = np.random.default_rng(3)
    rows = Rows(rng.integers(0, 256, (20, 5), dtype=np.uint8), rng.integers(0, 2, 20))
    found = []
    for step in (
        Step(recipe, learned),
        KernelStep(OnCpu(2, 1, shape=0), recipe, learned, rows, apart=True),
    ):
        step.advance(rows, np.arange(20), 8, coefficients(recipe, 0, 3))
        found.append([x.tobytes() for x in step.learned.as_dict(recipe).values()])
    assert found[0] == found[1]
    arguments = job.structure(job.MOST_LAYERS).itemsize + 16
    assert arguments <= 4096  # of a kernel, what they may take


OFF_THE_GRID = {
    "not multiples of the grid": lambda W: W * (1 + 2.0**-33),  # as no training leaves them
    "negative zeros": lambda W: np.where(W < 0, -0.0, W),
    "larger than pixels leave room for": lambda W: W * 2.0**20,
}


@pytest.mark.parametrize("what", OFF_THE_GRID)
def test_weights_put_in_by_hand_are_taken_as_they_are(what):
    """Those of a file, which going on does not settle again."""
    learned, recipe, rows = given(arithmetic_of("bitwise", "float64"), "pixels", (21, 6))
    arrays = learned.parameters.as_dict()
    arrays["W1"] = OFF_THE_GRID[what](arrays["W1"])
    learned = Learned.begin(recipe, model.Parameters.of(arrays, None))
    expected = list(went(Step(recipe, learned), recipe, rows, (16,)))
    step = KernelStep(OnCpu(2, 1, shape=1), recipe, learned, rows, apart=False)
    assert [x.tobytes() for x in went(step, recipe, rows, (16,))] == [x.tobytes() for x in expected]


@pytest.mark.parametrize("kind", ["pixels", "features"])
def test_rows_may_lie_in_memory_in_any_way(kind):
    learned, recipe, rows = given(arithmetic_of("bitwise", "float64"), kind)
    order, numbers = np.arange(ROWS)[::-1], coefficients(recipe, 0, 6)
    x, y, w = rows.inputs, rows.targets, rows.weights
    strewn = Rows(np.asfortranarray(x), np.repeat(y, 2)[::2], np.repeat(w, 3)[::3])
    found = []
    for given_rows in (rows, strewn):
        step = KernelStep(OnCpu(2, 1, shape=0), recipe, learned, given_rows, apart=True)
        step.advance(given_rows, order, 16, numbers)
        found.append([v.tobytes() for v in step.learned.as_dict(recipe).values()])
    as_defined = Step(recipe, learned)
    as_defined.advance(strewn, order, 16, numbers)
    expected = [v.tobytes() for v in as_defined.learned.as_dict(recipe).values()]
    assert found == [expected, expected]


def test_an_order_may_show_rows_again():
    """So that a batch has more rows than there are."""
    learned, recipe, rows = given(arithmetic_of("bitwise", "float64"), "pixels")
    order, numbers = np.tile(np.arange(ROWS), 2), coefficients(recipe, 0, 2)
    steps = (
        KernelStep(OnCpu(2, 1, shape=0), recipe, learned, rows, apart=True),
        Step(recipe, learned),
    )
    found = []
    for step in steps:
        step.advance(rows, order, ROWS + 3, numbers)
        found.append([v.tobytes() for v in step.learned.as_dict(recipe).values()])
    assert found[0] == found[1]


# Scores.

LOSSES = {"cross-entropy": CrossEntropy(), "smoothed": CrossEntropy(0.1), "squares": SquaredError()}


def shown(
    kind: str, loss: str, sizes: tuple[int, ...] = SIZES, numerics: str = "bitwise"
) -> tuple[Learned, Recipe, Rows]:
    """A network and rows to be scored; of classes, some labels are none."""
    learned, recipe, rows = given(arithmetic_of(numerics, "float64"), kind, sizes)
    recipe = replace(recipe, loss=LOSSES[loss])
    targets = np.random.default_rng(4).normal(size=(ROWS, sizes[-1]))
    if loss != "squares":
        targets = np.where(np.arange(ROWS) % 7, rows.targets, np.arange(ROWS) % 5 * 3 - 4)
    return learned, recipe, Rows(rows.inputs, targets)


def same_scores(found: Scores, expected: Scores) -> None:
    for one, other in zip(
        (*found.parts, found.outputs), (*expected.parts, expected.outputs), strict=True
    ):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.tobytes() == other.tobytes()


def compare_scores(device: OnCpu, apart: bool, network: tuple[Learned, Recipe, Rows]) -> None:
    """With targets and without; the whole, one row, and what fills a step or a launch."""
    learned, recipe, rows = network
    scorer = scoring.KernelScorer(device, recipe, learned, rows.inputs, apart)
    for count in (ROWS, 1, 32, 64, 65):
        x, y = rows.inputs[:count], rows.targets[:count]
        same_scores(scorer.score(x, y), evaluation.score(recipe, learned.parameters, x, y))
        alone = evaluation.outputs(recipe, learned.parameters, x)
        same_scores(scorer.score(x, None), Scores((), alone))


@pytest.mark.parametrize("kind", ["pixels", "features"])
@pytest.mark.parametrize("loss", LOSSES)
def test_scores_have_the_bits_of_the_definition(kind, loss):
    compare_scores(OnCpu(2, 1, shape=0), True, shown(kind, loss))


ODD = ((1, 1), (1, 1, 2), (3, 65, 17), (100, 1, 33), (257, 3), (70, 40, 30, 20))


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("sizes", ODD, ids=str)
@pytest.mark.parametrize(
    "activation",
    [
        "relu",
        *(pytest.param(name, marks=pytest.mark.long) for name in ACTIVATIONS if name != "relu"),
    ],
)
def test_scores_of_networks_of_odd_sizes_however_divided(activation, sizes, loss):
    for number, kind in enumerate(("pixels", "features")):
        learned, recipe, rows = shown(kind, loss, sizes)
        recipe = replace(recipe, activation=ACTIVATIONS[activation])
        for blocks, threads in DIVISIONS:
            layers = len(sizes) - 1
            device = OnCpu(blocks, threads, shape=(SHAPES[layers], 0)[number])
            compare_scores(device, APART[layers], (learned, recipe, rows))


@pytest.mark.slow
@pytest.mark.parametrize("shape", [0, 2])
def test_scores_with_work_divided_in_another_order(shape):
    for kind in ("pixels", "features"):
        for loss in LOSSES:
            device = OnCpu(2, 3, flags=("-DSHUFFLED",), shape=shape)
            compare_scores(device, False, shown(kind, loss))


@pytest.mark.slow
@pytest.mark.parametrize("apart", [False, True])
def test_scores_with_constant_sizes(apart):
    for kind in ("pixels", "features"):
        compare_scores(OnCpu(2, 1, fixed=True), apart, shown(kind, "smoothed", (21, 30, 6)))


@pytest.mark.parametrize("kind", ["pixels", "own"])
def test_native_scores_are_the_definitions_but_for_rounding(kind):
    learned, recipe, rows = shown(kind, "smoothed", numerics="native")
    scorer = scoring.KernelScorer(OnCpu(2, 1, shape=1), recipe, learned, rows.inputs)
    found = scorer.score(rows.inputs, rows.targets)
    expected = evaluation.score(recipe, learned.parameters, rows.inputs, rows.targets)
    pairs = zip((*found.parts, found.outputs), (*expected.parts, expected.outputs), strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-13)


BEYOND = {
    **OFF_THE_GRID,
    "not numbers": lambda W: np.where(W > 0.3, np.nan, W),
    "beyond the range": lambda W: W * 2.0**460,
    "subnormal": lambda W: W * 2.0**-1040,
}


@pytest.mark.parametrize("what", BEYOND)
def test_scores_of_weights_put_in_by_hand(what):
    for kind in ("pixels", "features"):
        learned, recipe, rows = shown(kind, "smoothed", (21, 6))
        arrays = learned.parameters.as_dict()
        arrays["W1"] = BEYOND[what](arrays["W1"])
        p = model.Parameters.of(arrays, learned.parameters.unit)
        learned = Learned.begin(recipe, p)
        compare_scores(OnCpu(2, 1, shape=1), False, (learned, recipe, rows))


def test_scores_may_lie_in_memory_in_any_way_and_of_other_kinds_are_as_defined():
    learned, recipe, rows = shown("pixels", "cross-entropy")
    x, y = rows.inputs, rows.targets
    expected = evaluation.score(recipe, learned.parameters, x, y)
    step = KernelStep(OnCpu(2, 1, shape=0), recipe, learned, rows, apart=True)
    for inputs in (np.asfortranarray(x), np.repeat(x, 2, axis=0)[::2], x[::-1].copy()[::-1]):
        same_scores(step.score(inputs, np.repeat(y, 3)[::3]), expected)
    same_scores(step.score(x, y.astype(np.int32)), expected)
    floats = x / 255
    found = evaluation.score(recipe, learned.parameters, floats, y)
    same_scores(step.score(floats, y), found)


def test_scores_of_what_is_not_this_networks_are_refused():
    learned, recipe, rows = shown("pixels", "squares")
    step = KernelStep(OnCpu(1, 1, shape=0), recipe, learned, rows, apart=True)
    for x, y in (
        (rows.inputs[:, 1:], rows.targets),
        (rows.inputs, rows.targets[1:]),
        (rows.inputs, rows.targets[:, :1]),
    ):
        with pytest.raises(IndexError, match="of the shape"):
            step.score(x, y)
    nothing = step.score(rows.inputs[:0], rows.targets[:0])
    assert [x.shape for x in (*nothing.parts, nothing.outputs)] == [(0,), (0, SIZES[-1])]


class Waiting(OnCpu):
    """Notes launches, and when the host waits for them; an interruption may come then."""

    def __init__(self) -> None:
        super().__init__(2, 1, shape=1)
        self.noted: list[str] = []
        self.interrupts = False

    def launch(self, module: Any, name: str, *given: Any) -> None:
        self.noted.append(name)
        super().launch(module, name, *given)

    def wait(self) -> None:
        self.noted.append("wait")
        if self.interrupts:
            raise KeyboardInterrupt


def test_between_two_launches_scores_can_be_interrupted_and_asked_for_again():
    learned, recipe, rows = shown("pixels", "cross-entropy", (21, 6))
    device = Waiting()
    scorer = scoring.KernelScorer(device, recipe, learned, rows.inputs)
    expected = evaluation.score(recipe, learned.parameters, rows.inputs, rows.targets)
    device.interrupts = True
    with pytest.raises(KeyboardInterrupt):
        scorer.score(rows.inputs, rows.targets)
    device.interrupts = False
    same_scores(scorer.score(rows.inputs, rows.targets), expected)
    one, two = ["gather_first", "steps"], ["gather_first", "steps", "wait", "gather_first", "steps"]
    assert device.noted == ["begin", *one, "wait", *two]  # of 90 rows, 64 in the first


def test_a_network_that_is_not_in_training_is_shown_by_kernels_but_for_few_rows(monkeypatch):
    monkeypatch.setattr(scoring, "_FEWEST", 70)
    learned, recipe, rows = shown("pixels", "cross-entropy", (21, 6))
    p, device = learned.parameters, Waiting()
    at = replace(same.numpy(), in_memory=False, kernels=device)
    loaded = Scorer(at, recipe, p.as_dict())
    for count, launches in ((69, False), (70, True), (69, False), (ROWS, True)):
        device.noted.clear()
        x, y = rows.inputs[:count], rows.targets[:count]
        same_scores(loaded.score(x, y), evaluation.score(recipe, p, x, y))
        shares = evaluation.outputs(recipe, p, x)
        assert loaded.outputs(x).tobytes() == shares.tobytes()
        np.testing.assert_array_equal(loaded.classes(x), classes(shares))
        assert bool(device.noted) == launches
    monkeypatch.setenv("BACKENDMLP_KERNELS", "0")
    device.noted.clear()
    Scorer(at, recipe, p.as_dict()).outputs(rows.inputs)
    assert device.noted == []


def test_threads_may_share_a_network_that_is_not_in_training():
    learned, recipe, rows = shown("pixels", "cross-entropy", (21, 6))
    scorer = scoring.KernelScorer(OnCpu(2, 1, shape=1), recipe, learned, rows.inputs)
    pieces = [slice(0, count) for count in range(ROWS - 16, ROWS)]
    expected = [scorer.score(rows.inputs[x], rows.targets[x]) for x in pieces]
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda x: scorer.score(rows.inputs[x], rows.targets[x]), pieces)
        for one, other in zip(found, expected, strict=True):
            same_scores(one, other)


def test_weights_are_taken_in_where_they_have_changed():
    learned, recipe, rows = shown("pixels", "cross-entropy", (21, 6))
    device = Waiting()
    step, defined = KernelStep(device, recipe, learned, rows), Step(recipe, learned)
    for learns, begins in ((False, 1), (True, 1), (False, 0)):
        if learns:
            for one in (step, defined):
                one.advance(rows, np.arange(ROWS), 16, coefficients(recipe, 0, 6))
        device.noted.clear()
        same_scores(step.score(rows.inputs, rows.targets), defined.score(rows.inputs, rows.targets))
        assert device.noted.count("begin") == begins

"""Float features that compiled code settles as it reads them: the definition's bits and words."""

from __future__ import annotations

import warnings

import exact
import numpy as np
import pytest
import stepping
import threadpoolctl

import backendmlp
from backendmlp import MLP, inputs
from backendmlp.arithmetic.bitwise import Bitwise
from backendmlp.errors import InputError
from backendmlp.features import Unsettled, feature_unit, settled
from backendmlp.network import evaluation, model
from backendmlp.network.recipe import Recipe
from backendmlp.steps.compiled import scoring
from backendmlp.steps.scoring import Scorer

NUMPY = backendmlp.select("numpy")
RECIPE = Recipe(Bitwise())
LAYOUTS = {
    "rows": np.ascontiguousarray,
    "columns": np.asfortranarray,
    "from below": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "every other": lambda x: np.repeat(x, 2, axis=0)[::2],
    "other bytes": lambda x: x.astype(x.dtype.newbyteorder()),
}
SCALES = {
    "alike": lambda rng, f: np.ones(f),
    "far apart": lambda rng, f: 2.0 ** rng.integers(-30, 31, f),
    "subnormal": lambda rng, f: np.where(rng.random(f) < 0.5, 1e-310, 1.0),
    "as large as may be": lambda rng, f: np.where(rng.random(f) < 0.5, 2.0**440, 2.0**-440),
}


@pytest.fixture(autouse=True)
def compiled(steps, monkeypatch):
    monkeypatch.setattr(scoring, "_WORTH_A_THREAD", 1000)  # all threads, for few rows
    return steps


def problem(features: int, rows: int, scale: str = "alike", dtype: str = "float64"):
    """Features (rows, features), some of them ties, zeros of both signs, clipped; and a model."""
    rng = np.random.default_rng([features, rows])
    sizes = SCALES[scale](rng, features)
    x = rng.normal(size=(rows, features))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        unit = feature_unit(x * sizes)
    x = np.where(rng.random(x.shape) < 0.2, np.round(x * 2**16) / 2**16 + 2.0**-18, x)
    x = np.where(rng.random(x.shape) < 0.1, rng.choice([0.0, -0.0, 40.0, -1e9], x.shape), x) * sizes
    start = stepping.start(features, 6, 3, seed=1)
    start["W1"] /= np.maximum(sizes, 2.0**-30)[:, None]
    with np.errstate(over="ignore"):
        return x.astype(dtype), model.settle(Bitwise(), start, unit)


def shown(values: np.ndarray, told: list) -> Unsettled:
    """Features that must be settled by who reads them."""
    return Unsettled(values, lambda: pytest.fail("it was left to the definition"), told.append)


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_bits_are_those_of_the_definition(threads, scale, dtype):
    if dtype == "float32" and scale == "as large as may be":
        scale = "alike"
    for features, rows in ((1, 1), (3, 7), (33, 257), (70, 1000)):
        x, p = problem(features, rows, scale, dtype)
        y = np.arange(rows) % 3
        with warnings.catch_warnings(), np.errstate(over="ignore"):
            warnings.simplefilter("ignore")
            whole = settled(x.astype(np.float64), p.unit)
        expected = evaluation.score(RECIPE, p, whole, y)
        told: list = []
        with threadpoolctl.threadpool_limits(threads, "blas"):
            found = Scorer(NUMPY, RECIPE, p.as_dict(), p.unit).score(shown(x, told), y)
        for one, two in zip(
            (*found.parts, found.outputs), (*expected.parts, expected.outputs), strict=True
        ):
            assert exact.bits(one) == exact.bits(two)
        with np.errstate(over="ignore"):
            clipped = np.abs(x.astype(np.float64) * (1.0 / p.unit)) > 2**20
        (seen,) = told
        assert (seen.values, seen.clipped) == (x.size, np.count_nonzero(clipped))
        assert seen.largest == np.abs(whole).max()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_however_they_lie_in_memory(layout, dtype):
    x, p = problem(30, 500, dtype=dtype)
    scorer = Scorer(NUMPY, RECIPE, p.as_dict(), p.unit)
    found = scorer.outputs(shown(LAYOUTS[layout](x), []))
    assert exact.bits(found) == exact.bits(scorer.outputs(shown(x, [])))


@pytest.fixture(scope="module")
def mlp():
    rng = np.random.default_rng(0)
    return MLP(8, epochs=1).fit(rng.normal(size=(300, 20)), rng.integers(0, 3, 300))


def said(mlp: MLP, x: np.ndarray) -> list[str]:
    """What predicting ``x`` warns of, or is refused with."""
    with warnings.catch_warnings(record=True) as told, np.errstate(over="ignore"):
        warnings.simplefilter("always")
        try:
            mlp.predict(x)
        except InputError as error:
            return [str(error)]
    return [str(one.message) for one in told]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize(("value", "words"), [
    (np.nan, "hold NaN or infinity"), (np.inf, "hold NaN or infinity"), (-np.inf, "hold NaN"),
    (6e4, "1 of the 18000 feature values lie beyond 8 times"), (0.0, ""),
])  # fmt: skip
def test_the_same_words_as_by_the_definition(mlp, monkeypatch, dtype, value, words):
    x = np.random.default_rng(1).normal(size=(900, 20)).astype(dtype)
    x[-1, 7] = value
    with threadpoolctl.threadpool_limits(3, "blas"):
        found = said(mlp, x)
    assert len(found) == bool(words)
    assert words in "".join(found)
    monkeypatch.setattr(Scorer, "_while_settling", lambda *_: None)
    assert found == said(mlp, x)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_features_far_below_those_trained_on_are_told(mlp, monkeypatch, dtype):
    x = np.random.default_rng(1).normal(size=(50, 20)).astype(dtype) / 1000
    found = said(mlp, x)
    assert "the model has learned from floats of up to about" in found[0]
    monkeypatch.setattr(Scorer, "_while_settling", lambda *_: None)
    assert found == said(mlp, x)
    assert said(mlp, x * 0) == []


def test_a_network_out_of_range_is_the_definitions():
    x, p = problem(20, 300)
    p.weights[0][3, 3] = 2.0**200
    whole = settled(np.clip(x, -4, 4), p.unit)
    unsettled = Unsettled(np.clip(x, -4, 4), lambda: whole, pytest.fail)
    found = Scorer(NUMPY, RECIPE, p.as_dict(), p.unit).outputs(unsettled)
    assert exact.bits(found) == exact.bits(evaluation.outputs(RECIPE, p, whole))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_native_numerics_find_what_is_not_finite_while_they_read(threads, odd, dtype):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(700, 9)).astype(dtype)
    mlp = MLP(7, epochs=1, numerics="native", dtype=dtype).fit(x, rng.integers(0, 3, 700))
    with threadpoolctl.threadpool_limits(threads):
        expected = mlp.predict_proba(x)
        for row in (0, 255, 256, 511, 699):
            wrong = x.copy()
            wrong[row, row % 9] = odd
            place = f"first in row {row}, column {row % 9}"
            with pytest.raises(InputError, match=f"hold NaN or infinity, {place};"):
                mlp.predict_proba(wrong)
            with pytest.raises(InputError, match="hold NaN or infinity"):
                mlp.evaluate(wrong, rng.integers(0, 3, 700))
        assert np.isfinite(mlp.predict_proba(np.full_like(x, np.finfo(dtype).max) / 1e9)).all()
        assert mlp.predict_proba(x).tobytes() == expected.tobytes()


def test_floats_are_read_once_where_they_are_of_the_networks_own_type(monkeypatch):
    x = np.random.default_rng(0).normal(size=(50, 9)).astype("float32")
    mlp = MLP(7, epochs=1, numerics="native").fit(x, np.arange(50) % 3)
    monkeypatch.setattr(inputs, "finite", lambda *_: pytest.fail("they were read before"))
    mlp.predict(x)

"""Float features settled once: on which grid, how exactly, and what the model makes of them."""

from __future__ import annotations

import warnings
from fractions import Fraction

import exact
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import backendmlp
from backendmlp import MLP, features
from backendmlp.arithmetic.bitwise import Bitwise, product_bits
from backendmlp.backend import to_numpy
from backendmlp.config import definition
from backendmlp.features import feature_unit, settled
from backendmlp.network import model
from backendmlp.network.initial import initial
from backendmlp.network.optimizers import Descent
from backendmlp.network.recipe import Learned, Recipe
from backendmlp.steps.definition import Step
from backendmlp.steps.stepper import Rows

BITWISE = Bitwise()
NUMPY = backendmlp.select("numpy")
quick = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 2**32 - 1)


def badly_scaled(seed: int, shape: tuple[int, int], spread: int = 60) -> np.ndarray:
    """Features whose columns are of sizes up to 2**(2 * spread) apart; the first is all zero."""
    rng = np.random.default_rng(seed)
    x = np.ldexp(rng.normal(size=shape), rng.integers(-spread, spread + 1, (1, shape[1])))
    x[:, 0] = 0.0
    return x


def exactly_settled(x: np.ndarray, unit: np.ndarray) -> list[list[int]]:
    """The definition in rational arithmetic: the nearest multiple, half to even, clipped."""
    nearest = [
        [round(Fraction(float(v)) / Fraction(float(u))) for v, u in zip(row, unit, strict=True)]
        for row in x
    ]
    return [[max(-(2**20), min(2**20, q)) for q in row] for row in nearest]


@quick
@given(seeds, st.integers(1, 30), st.integers(1, 9), st.sampled_from([0, 60, 400]))
def test_a_column_lies_on_a_grid_of_its_own(seed, rows, columns, spread):
    x = badly_scaled(seed, (rows, columns), spread)
    unit = feature_unit(x)
    tops = np.abs(x).max(0)
    assert unit[0] == 2.0**-17
    for u, top in zip(unit[1:].tolist(), tops[1:].tolist(), strict=True):
        power = Fraction(u) * 2**17
        assert power / 2 < Fraction(top) <= power
    q = settled(x, unit)
    assert q.dtype == np.int32
    assert q.tolist() == exactly_settled(x, unit)
    assert np.abs(q).max() <= 2**17
    assert (np.abs(q * unit - x) <= unit / 2).all()


def test_ties_go_to_even_and_what_lies_beyond_is_clipped():
    unit = np.array([2.0**-17])
    steps = [0.5, 1.5, 2.5, -0.5, -1.5, 2.0**20, -(2.0**20), 2.0**20 - 0.5, 5e-324, -5e-324]
    q = settled(np.array(steps)[:, None] * unit, unit)[:, 0]
    assert q.tolist() == [0, 2, 2, 0, -2, 2**20, -(2**20), 2**20, 0, 0]
    with (
        np.errstate(over="ignore"),
        pytest.warns(UserWarning, match=r"3 of the 4 feature values lie beyond 8 times the range"),
    ):
        q = settled(np.array([[8.5], [-1e300], [1.7e308], [8.0]]), unit)
    assert q[:, 0].tolist() == [2**20, -(2**20), 2**20, 2**20]


def test_the_smallest_and_the_largest_numbers():
    """JAX takes subnormal numbers for zero: a column of tiny ones is one of zeros everywhere."""
    x = np.array([[5e-324, -(2.0**-460), -(2.0**-450), 2.0**450, 0.0]])
    unit = feature_unit(x)
    assert unit.tolist() == [2.0**-17, 2.0**-17, 2.0**-467, 2.0**433, 2.0**-17]
    assert settled(x, unit).tolist() == [[0, 0, -(2**17), 2**17, 0]]
    with pytest.raises(backendmlp.InputError, match=r"features hold numbers beyond 2\*\*450"):
        feature_unit(np.array([[1.0, -(2.0**450) * 1.001]]))


@pytest.mark.parametrize("columns", [[1], [0, 2]])
def test_a_column_that_the_grid_swallows_is_named(columns):
    x = np.random.default_rng(0).normal(size=(50, 4))
    x[:, columns] = 1e6 + x[:, columns]
    x[:, 3] = 7.0  # constant: nothing is lost
    plural = "s" if len(columns) > 1 else ""
    named = f"column{plural} {', '.join(map(str, columns))} var.*standardise"
    with pytest.warns(UserWarning, match=named) as told:
        feature_unit(x)
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        feature_unit((x - x.mean(0)) / (x.std(0) + 1e-9))


def test_every_backend_settles_alike(backend):
    x = badly_scaled(1, (40, 7))
    unit = feature_unit(backend.asarray(x))
    found = settled(backend.asarray(x), unit)
    assert to_numpy(unit).tolist() == feature_unit(x).tolist()
    assert to_numpy(found).tolist() == settled(x, feature_unit(x)).tolist()
    assert to_numpy(found).dtype == np.int32


def test_rows_settle_alone_and_in_pieces(monkeypatch):
    x = badly_scaled(2, (40, 7))
    unit = feature_unit(x)
    whole = settled(x, unit)
    monkeypatch.setattr(features, "_VALUES", 21)
    assert settled(x, unit).tolist() == whole.tolist()
    assert [settled(row[None], unit).tolist()[0] for row in x] == whole.tolist()


def test_pixels_beside_features_stand_for_their_share_of_255():
    unit = feature_unit(np.array([[1.0, 1.0]]))
    pixels = np.array([[0, 255], [51, 128]], np.uint8)
    assert settled(pixels, unit).tolist() == settled(pixels / 255.0, unit).tolist()


def problem(seed: int, rows: int = 60) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    x = badly_scaled(seed, (rows, 11), 3)
    return x, rng.integers(0, 4, rows), initial((11, 8, 4), "relu", seed)


def test_forward_and_gradients_are_the_exact_products_of_what_was_rounded():
    x, y, start = problem(3, 20)
    unit = feature_unit(x)
    q = settled(x, unit)
    p = model.settle(BITWISE, start, unit)
    recipe = Recipe(BITWISE)
    f = model.forward(BITWISE, recipe.activation, p, q)
    (W1, W2), (b1, _) = p.weights, p.biases
    bits = product_bits(11, beside_features=True)[1]
    weights = np.array([exact.rounded(column, bits) for column in (W1 * unit[:, None]).T])
    exactly = q.astype(object) @ weights.T
    z1 = exactly.astype(float) + b1
    assert exact.bits(f.values[1]) == exact.bits(np.where(z1 > 0, z1, 0.0))

    _, d2 = recipe.loss.step(BITWISE, f.z, y)
    d2 = d2 * (0.5 / 20)
    change = model.back(BITWISE, recipe.activation, p, q, f, d2)
    d1 = np.where(f.values[1] > 0, BITWISE.matmul(d2, W2.T), 0.0)
    bits = product_bits(20, beside_features=True)[1]
    deltas = np.array([exact.rounded(column, bits) for column in d1.T]).T
    units = np.array([Fraction(u) for u in unit.tolist()])[:, None]
    expected = (q.T.astype(object) @ deltas) * units
    assert exact.fractions(change.weights[0]) == expected.tolist()
    assert [Fraction(v) for v in change.biases[0].tolist()] == deltas.sum(0).tolist()


def stepped(arithmetic, start, x, y, rate: float, size: int, unit=None, order=None) -> tuple:
    """The losses' parts of steps through 60 rows, and the parameters after them."""
    recipe = Recipe(arithmetic)
    step = Step(recipe, Learned.begin(recipe, model.settle(arithmetic, start, unit)))
    rates = Descent().coefficients(np.full(-(-60 // size), rate), 0, 0.0)
    parts = step.advance(Rows(x, y), np.arange(60) if order is None else order, size, rates)
    return parts, step.learned.parameters.as_dict()


def test_settled_steps_follow_the_features_they_stand_for():
    """Against float64 on the values that the grid holds: close, and not by chance."""
    x, y, start = problem(4)
    unit = feature_unit(x)
    q = settled(x, unit)
    native = backendmlp.Config(numerics="native", dtype="float64").arithmetic()
    _, found = stepped(BITWISE, start, q, y, 0.1, 20, unit)
    _, expected = stepped(native, start, q * unit, y, 0.1, 20)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-4, err_msg=name)


def test_steps_on_every_backend(backend):
    x, y, start = problem(5)

    def run(at):
        images = at.asarray(x)
        unit = feature_unit(images)
        on_device = {k: at.asarray(v) for k, v in start.items()}
        x_there, y_there = settled(images, unit), at.asarray(y, "int64")
        order = at.asarray(np.arange(60))
        parts, learned = stepped(BITWISE, on_device, x_there, y_there, 0.3, 25, unit, order)
        return [exact.bits(to_numpy(v)) for v in (*parts, *learned.values())]

    assert run(backend) == run(NUMPY)


def test_fit_settles_once_and_predicts_in_the_same_units(backend):
    x, y, _ = problem(6)
    mlp = MLP(8, epochs=2, backend=backend.name, device=backend.label.partition(" ")[0])
    mlp.fit(x, y, test=(x, y))
    same = MLP(8, epochs=2).fit(x, y, test=(x, y))
    assert mlp.history[-1].weights_sha256 == same.history[-1].weights_sha256
    assert mlp.history[-1].predictions_sha256 == same.history[-1].predictions_sha256
    assert mlp.unit.tolist() == feature_unit(x).tolist()
    assert mlp.evaluate(x, y).loss == mlp.history[-1].test_loss
    together = mlp.predict_proba(x)
    alone = [mlp.predict_proba(row[None])[0] for row in x]
    assert exact.bits(np.array(alone)) == exact.bits(together)


def test_float32_features_are_the_same_as_their_float64():
    x, y, _ = problem(7)
    x = x.astype(np.float32)
    one, two = (MLP(8, epochs=1).fit(kind, y) for kind in (x, x.astype(np.float64)))
    assert one.history[0].weights_sha256 == two.history[0].weights_sha256


def test_a_later_fit_on_pixels_has_no_unit():
    x, y, _ = problem(8)
    mlp = MLP(8, epochs=1).fit(x, y)
    assert mlp.unit is not None
    assert mlp.fit(np.abs(x).astype(np.uint8), y).unit is None
    assert MLP(8, epochs=1, numerics="native").fit(x, y).unit is None


def test_predicting_far_beyond_the_training_range_warns_once():
    x, y, _ = problem(9)
    mlp = MLP(8, epochs=1).fit(x, y)
    with pytest.warns(UserWarning, match="were clipped") as told:
        mlp.predict(x * 100)
    assert len(told) == 1


def test_the_definition_has_a_number():
    assert definition("bitwise", pixels=True) == 1
    assert definition("bitwise", pixels=False) == 2
    assert definition("native", pixels=False) == 1

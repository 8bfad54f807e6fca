"""Compiled steps of any network, recipe, rows and division: the bits of the definition."""

from __future__ import annotations

import exact
import numpy as np
import pytest
from compiled_cases import Case, draw
from tolerances import assert_close

from backendmlp.steps.definition import Step


def both(steps, case: Case) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    compiled = steps._make(case.recipe, case.learned, case.rows, case.division)
    return case.after(compiled), case.after(Step(case.recipe, case.learned))


@pytest.mark.parametrize("wild", [False, True])
@pytest.mark.parametrize("first", range(0, 40, 8))
def test_the_bits_are_those_of_the_definition(steps, first, wild):
    """``wild``: weights, rates and targets so large that steps are left to the definition too."""
    for seed in range(first, first + 8):
        case = draw(seed, "bitwise", wild=wild)
        found, expected = both(steps, case)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert exact.bits(found[name]) == exact.bits(value), (seed, name, case.described)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("first", range(0, 40, 8))
def test_native_numerics_agree_with_the_definition(steps, first, dtype):
    for seed in range(first, first + 8):
        case = draw(seed, "native", dtype)
        found, expected = both(steps, case)
        for name, value in expected.items():
            assert_close(found[name], value, dtype, "training")


def test_slots_come_back_as_they_went_in(steps):
    case = draw(next(s for s in range(99) if draw(s, "bitwise").described["optimizer"] == "adam"),
                "bitwise")  # fmt: skip
    learned = Step(case.recipe, case.learned)
    case.after(learned)
    given = learned.learned.as_dict(case.recipe)
    held = steps._make(case.recipe, learned.learned, case.rows, (3, 1)).learned
    for name, value in held.as_dict(case.recipe).items():
        assert value.tobytes() == given[name].tobytes(), name

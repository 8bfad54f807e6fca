"""A network and its recipe where compiled code finds them."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from backendmlp.arithmetic import constants as const
from backendmlp.arithmetic.bitwise import FEATURE_BITS, PIXEL_BITS, product_bits
from backendmlp.network import model, recipe
from backendmlp.network.model import Parameters
from backendmlp.network.recipe import Learned, Recipe
from backendmlp.steps import known
from backendmlp.steps.blas import OpenBLAS, openblas
from backendmlp.steps.compiled import library
from backendmlp.steps.compiled.library import address

Array = Any

_LINE = 64  # bytes of a line of a cache
_TANH_HALF = const.tanh_table()
_TANH_POWER = const.exp_table()[::-1][: len(_TANH_HALF)].copy()  # 2**(-k / 64), likewise


def numerics(recipe: Recipe) -> str:
    """As the library's functions are called."""
    arithmetic = recipe.arithmetic
    return "bitwise" if arithmetic.name == "bitwise" else f"native_{arithmetic.dtype}"


def possible(
    recipe: Recipe, parameters: Parameters, inputs: Array, unsettled: bool = False
) -> bool:
    """Whether compiled code knows such a network and such inputs, float features perhaps."""
    able = (
        known.knows(recipe)
        and len(parameters.weights) <= library.MOST_LAYERS
        and library.library() is not None
        and openblas() is not None
    )
    return able and inputs.dtype.newbyteorder("=") in _kinds(recipe, parameters, unsettled)


def _kinds(recipe: Recipe, parameters: Parameters, unsettled: bool) -> dict[Any, int]:
    """The dtypes of inputs that there is code for, and what job.h calls them."""
    if parameters.unit is None:
        found = {np.dtype(np.uint8): library.PIXELS}
        if numerics(recipe) != "bitwise":
            own = library.UNREAD if unsettled else library.OWN
            found[np.dtype(recipe.arithmetic.dtype)] = own
        return found
    if numerics(recipe) != "bitwise":
        return {}
    if unsettled:
        return {np.dtype(np.float64): library.DOUBLES, np.dtype(np.float32): library.SINGLES}
    return {np.dtype(np.int32): library.FEATURES}


class Held:
    """What is learned, in memory of its own, and a job that says all that does not change.

    Of the weights and biases of a hidden layer each of ``groups`` groups of threads has its own
    units' in one piece.
    """

    def __init__(
        self,
        recipe: Recipe,
        learned: Learned,
        inputs: Array,
        groups: int = 1,
        unsettled: bool = False,
    ) -> None:
        blas, parameters = openblas(), learned.parameters
        assert blas is not None
        self.recipe, self.numerics, self.blas = recipe, numerics(recipe), blas
        self.sizes, self.groups = parameters.sizes, groups
        if min(self.sizes) < 1:
            raise ValueError(f"parameters of the sizes {self.sizes} make no network")
        self.kind, self._unit = inputs.dtype.newbyteorder("="), parameters.unit
        self._widths = np.array(self.sizes, np.int64)
        self._make_room()
        self.job = library.Job(
            **self._shape(blas), **_choices(recipe), **_tables(), levels=model.levels(inputs)
        )
        self.job.kind = _kinds(recipe, parameters, unsettled)[self.kind]
        if self.numerics == "bitwise":
            self._add_bitwise()
        self.load(learned)

    def load(self, learned: Learned) -> None:
        """Take copies of what is ``learned``; its unit stays what it was."""
        for name, value in learned.as_dict(self.recipe).items():
            if value.shape != self._shapes[name]:
                raise ValueError(f"{name} has the shape {value.shape}, not {self._shapes[name]}")
            for part, columns in self._pieces(name):
                part[...] = value[..., columns]

    def learned(self) -> Learned:
        """Copies of what is held."""
        found = {name: np.empty(shape, self._dtype) for name, shape in self._shapes.items()}
        for name, value in found.items():
            for part, columns in self._pieces(name):
                value[..., columns] = part
        return Learned.of(self.recipe, found, self._unit)

    def divide(self, groups: int) -> None:
        """Lay out what is held for another number of groups."""
        if groups != self.groups:
            learned = self.learned()
            self.groups = self.job.groups = groups
            self.load(learned)

    @property
    def _dtype(self) -> str:
        return self.recipe.arithmetic.dtype

    def _pieces(self, name: str) -> list[tuple[Array, slice]]:
        """The groups' parts of an array, each with the columns of the whole that it holds."""
        flat, shape = self._arrays[name], self._shapes[name]
        kind, layer = name.rpartition(".")[2][0], int(name.rpartition(".")[2][1:])
        divided = layer < len(self.sizes) - 1
        bounds = [shape[-1] * g // self.groups for g in range(self.groups + 1)]
        if not divided:
            bounds = [0, shape[-1]]
        found = []
        for start, stop in pairwise(bounds):
            rows = shape[0] if kind == "W" else 1
            part = flat[rows * start : rows * stop].reshape((*shape[:-1], stop - start))
            found.append((part, slice(start, stop)))
        return found

    def _make_room(self) -> None:
        """Memory for every array, one after the other, each from a new line of a cache on."""
        self._shapes = recipe.names(self.recipe, self.sizes)
        size, at = np.dtype(self._dtype).itemsize, 0
        places = {}
        for name, shape in self._shapes.items():
            places[name] = slice(at, at + size * math.prod(shape))
            at = -(-places[name].stop // _LINE) * _LINE + _LINE
        self._memory = library.aligned(at)
        self._arrays = {k: self._memory[place].view(self._dtype) for k, place in places.items()}
        self._addresses = np.array([address(x) for x in self._arrays.values()], np.uintp)

    def _shape(self, blas: OpenBLAS) -> dict[str, Any]:
        return {
            "widths": address(self._widths),
            "layers": len(self.sizes) - 1,
            "learned": address(self._addresses),
            "threads": self.groups,
            "groups": self.groups,
            "gemm": blas.address(self._dtype),
        }

    def _add_bitwise(self) -> None:
        features, pixels = self.sizes[0], self._unit is None
        self._worth = np.ones(features) if pixels else np.array(self._unit, np.float64)
        self._inverse = 1.0 / self._worth
        self.job.unit, self.job.inverse = address(self._worth), address(self._inverse)
        self.job.input_bits = PIXEL_BITS if pixels else FEATURE_BITS
        # What is smaller and on the grid, the definition's rounding leaves as it is.
        self.job.exact = 2.0 ** product_bits(features, beside_pixels=True)[1] * const.GRID


def _choices(recipe: Recipe) -> dict[str, Any]:
    """The recipe, as job.h has it."""
    keep_1, keep_2 = known.kept(recipe)
    return {
        **known.numbers(recipe),
        "smoothing": known.smoothing(recipe),
        "l2": recipe.l2,
        "clip": math.inf if recipe.clip_norm is None else recipe.clip_norm,
        "keep_1": keep_1,
        "keep_2": keep_2,
    }


def _tables() -> dict[str, Any]:
    return {
        "exp_table": address(const.exp_table()),
        "tanh_power": address(_TANH_POWER),
        "tanh_half": address(_TANH_HALF),
        "exp_inverse": const.EXP_INVERSE,
        "exp_high": const.EXP_HIGH,
        "exp_low": const.EXP_LOW,
        "exp_lowest": const.EXP_LOWEST,
        "tanh_highest": const.TANH_ONE,
        "exp_offset": const.EXP_OFFSET,
    }

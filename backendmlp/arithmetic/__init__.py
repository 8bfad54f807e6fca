"""How arithmetic is done: the few operations whose result depends on the library that runs them.

Everything else the model does is elementwise ``+ - * /``, comparison and selection, which IEEE 754
settles for every machine.  :func:`choose` picks one arithmetic for a run; the model is written
once above it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from backendmlp.errors import InputError

Array = Any

NUMERICS = ("bitwise", "native")


class Arithmetic(Protocol):
    """The seam between the model and the arithmetic under it.

    Operands are floats of dtype :attr:`dtype`, or whole numbers, which are exact as they stand:
    uint8, and in bitwise numerics int32 of at most 2**20 in size.  What :meth:`inputs` returns may
    stand wherever an ``a`` or ``x`` is a left factor.
    """

    @property
    def name(self) -> str: ...

    @property
    def dtype(self) -> str: ...

    def inputs(self, x: Array) -> Any:
        """``x`` (n, F), made ready once to be a left factor of several products."""

    def matmul(self, a: Array, b: Array) -> Array:
        """``a @ b`` for ``a`` (m, k) and ``b`` (k, n)."""

    def gradients(self, pairs: Sequence[tuple[Any, Array]]) -> list[tuple[Array, Array]]:
        """``x.T @ d`` and ``d.sum(0)`` of each pair ``x`` (n, m) and ``d`` (n, k).

        What affine layers change by, with inputs ``x`` and deltas ``d``; all at once, because the
        rows of a batch meet here, and here alone.
        """

    def sum(self, x: Array, axis: int, top: float | None = None) -> Array:
        """The sum of ``x`` over ``axis``.

        ``top``, a power of two, says that no line has an entry above it, and each one that is, so
        that it need not be looked for: 1 in the exponentials of a softmax.
        """

    def sum_of_squares(self, x: Array) -> Array:
        """The sum of the squares of all entries of ``x``, of any shape; 0-d."""

    def exp(self, x: Array) -> Array:
        """The exponential of ``x`` <= 0."""

    def log(self, x: Array) -> Array:
        """The natural logarithm of ``x`` > 0."""

    def tanh(self, x: Array) -> Array:
        """The hyperbolic tangent of any ``x``."""

    def logistic(self, x: Array) -> Array:
        """``1 / (1 + exp(-x))`` of any ``x``."""

    def sqrt(self, x: Array) -> Array:
        """The square root of ``x`` >= 0: a library's own need not be correctly rounded."""

    def update(self, parameter: Array, change: Array) -> Array:
        """``parameter - change``, as a parameter is stored."""

    def settle(self, parameter: Array) -> Array:
        """A parameter that comes from outside, as a parameter is stored."""

    def keep(self, state: Array) -> Array:
        """An optimiser's state, as it is stored: what is too small to matter is zero."""


def checked_dtype(numerics: str, dtype: str | None = None) -> str:
    """The dtype that ``numerics`` compute in: float64 for bitwise, for native as asked.

    ``dtype`` None means float64 for bitwise and float32 for native.
    """
    if numerics == "bitwise":
        if dtype not in (None, "float64"):
            raise InputError(
                f"dtype {dtype!r} does not go with bitwise numerics, which compute in float64; "
                "leave it out, or choose native numerics"
            )
        return "float64"
    if numerics == "native":
        if dtype not in (None, "float32", "float64"):
            raise InputError(f"dtype {dtype!r} is not known; choose 'float32' or 'float64'")
        return dtype or "float32"
    raise InputError(f"numerics {numerics!r} are not known; choose 'bitwise' or 'native'")


def choose(numerics: str, dtype: str | None = None) -> Arithmetic:
    """The arithmetic called ``numerics``, with a dtype as :func:`checked_dtype` takes it."""
    dtype = checked_dtype(numerics, dtype)
    if numerics == "bitwise":
        from backendmlp.arithmetic.bitwise import Bitwise

        return Bitwise()
    from backendmlp.arithmetic.native import Native

    return Native(dtype)

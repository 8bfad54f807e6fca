"""Which rows of a batch are a rank's, and what all ranks found in theirs, in the rows' order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backendmlp.backend import fetch
from backendmlp.network.evaluation import Scores
from backendmlp.network.recipe import Recipe
from backendmlp.ranks import Ranks, bounds

Array = Any


def own_rows(ranks: Ranks, batches: Sequence[int], rank: int | None = None) -> np.ndarray:
    """The places of a rank's rows, this one's if None, among those of ``batches`` of so many."""
    rank = ranks.rank if rank is None else rank
    starts = np.cumsum([0, *batches])
    found = [np.empty(0, np.int64)]
    for start, rows in zip(starts[:-1], batches, strict=True):
        shares = bounds(rows, ranks.size)
        found.append(start + np.arange(shares[rank], shares[rank + 1]))
    return np.concatenate(found)


def parts_of_all(
    ranks: Ranks, mine: Sequence[np.ndarray], batches: Sequence[int]
) -> list[np.ndarray]:
    """Each of ``mine``, which has an entry for each row of this rank's, of all rows."""
    places = [own_rows(ranks, batches, rank) for rank in range(ranks.size)]
    order = np.argsort(np.concatenate(places))
    counts = [len(own) for own in places]
    return [ranks.gather(part, counts)[order] for part in mine]


def scores_of_all(
    ranks: Ranks,
    recipe: Recipe,
    inputs: Array,
    targets: Array,
    score: Callable[[Array, Array], Scores],
) -> Scores:
    """The scores of all ``inputs``, in host memory, of which each rank scores some rows."""
    shares = bounds(inputs.shape[0], ranks.size)
    own, counts = slice(shares[ranks.rank], shares[ranks.rank + 1]), np.diff(shares).tolist()
    asked = own if own.start < own.stop else slice(0, 1)  # whoever has no rows forgets this one
    found = score(inputs[asked, :], targets[asked, ...])
    names = recipe.loss.parts
    fetched = fetch({**dict(zip(names, found.parts, strict=True)), "outputs": found.outputs})
    mine = counts[ranks.rank]
    gathered = {name: ranks.gather(x[:mine], counts) for name, x in fetched.items()}
    return Scores(tuple(gathered[name] for name in names), gathered["outputs"])

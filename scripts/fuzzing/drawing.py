"""What a case is: all of it drawn from its number, the same on every machine."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

from backendmlp.config import LARGEST_COUNT
from backendmlp.network import model
from backendmlp.network.schedules import FORESEEN
from fuzzing.making import FEATURES, LABELS, LAYOUTS, ORDERS, PIXELS, STARTS, TARGETS, WEIGHTS, Case

WORK = 1 << 25  # products of a case, at most
BATCHES = 60  # of an epoch, about
SUBNORMAL = (1e-301, 1e-310, 5e-324)  # what some libraries take for zero, or a root of them does


def draw(seed: int) -> Case:
    """The case of this number."""
    rng = random.Random(seed)
    pixels = rng.random() < 0.65
    outputs = rng.choice((2, 2, 3, 4, 5, 8, 10, 10, 17, 33, 100))
    depth = rng.choice((0, 1, 1, 1, 2, 2, 3, 4))
    if rng.random() < 0.1:
        outputs, depth = rng.choice(((rng.randint(101, 400), depth), (outputs, rng.randint(5, 8))))
    shape = [_size(rng), *(_size(rng) for _ in range(depth)), outputs]
    count = rng.choice((1, 2, 3, 7, 16, 50, 64, 65, 100, 200, 300, 500))
    if rng.random() < 0.04:  # a batch much larger than the network
        shape = [rng.randint(1, 3), *(rng.randint(1, 4) for _ in range(depth)), 2]
        count = rng.randint(1000, 5000)
    epochs = rng.choice((1, 1, 2, 3, 5))
    products = sum(a * b for a, b in pairwise(shape))
    while count > 1 and count * products * epochs > WORK:
        count //= 2
    batch = _batch(rng, count)
    plain = rng.random() < 0.25  # the classifier of two layers and before: most is known of it
    choices = {} if plain else _drawn_choices(rng, shape[-1])
    if choices.get("loss") == "squared_error":
        shape[-1] = rng.choice((1, 1, 2, 3, 10))
    return {
        "seed": seed,
        "shape": shape,
        "count": count,
        "batch": batch,
        "epochs": epochs,
        "lr": _rate(rng, choices.get("optimizer", "sgd")),
        "choices": choices,
        "validated": rng.random() < 0.25 and "validation_split" not in choices,
        "warm": _drawn_warm(rng, count, choices),
        "weights": "none" if rng.random() < 0.6 else rng.choice(tuple(WEIGHTS)),
        "targets": rng.choice(tuple(TARGETS)) if rng.random() < 0.5 else "normal",
        "inputs": "pixels" if pixels else "features",
        "fill": rng.choice(tuple(PIXELS if pixels else FEATURES)),
        "labels": rng.choice(tuple(LABELS)),
        "start": _drawn_start(rng, shape),
        "order": rng.choice(tuple(ORDERS)),
        "layout": rng.choice(("rows", "rows", "rows", *LAYOUTS)),
        "scored": rng.choice((1, 2, 10, 50, 100, 257)) if rng.random() < 0.97 else 2050,
        "threads": rng.choice((1, 2, 3, 5, 8)),
        "division": rng.choice((None, None, *DIVISIONS)),  # of hidden units, and of rows
        "batches": rng.choice((1, 2, 3, 7, LARGEST_COUNT)),  # of each advance
        "paths": _drawn_paths(rng, -(-count // batch)),
        "shown": {  # features to a network as users have it, before they are settled
            "dtype": rng.choice(("float64", "float32")),
            "spoilt": rng.choice((None, None, None, "nan", "inf", "-inf")),
        },
    }


def _drawn_choices(rng: random.Random, outputs: int) -> dict[str, Any]:
    """Those of a Config, but for sizes and the rate; what goes without saying is left out."""
    found: dict[str, Any] = {
        "activation": rng.choice(("relu", "relu", "tanh", "logistic", "identity")),
        "optimizer": rng.choice(("sgd", "momentum", "nesterov", "adam", "adam", "adamw")),
    }
    if rng.random() < 0.35:
        found["loss"] = "squared_error"
    elif rng.random() < 0.4:
        found["label_smoothing"] = rng.choice((0.1, 0.5, 0.999, 1e-9, 5e-324))
    if found["optimizer"] in ("momentum", "nesterov") and rng.random() < 0.5:
        found["momentum"] = rng.choice((0.0, 0.5, 0.99, 1e-200, 1 - 2**-53))
    if found["optimizer"].startswith("adam") and rng.random() < 0.5:
        found["beta_1"] = rng.choice((0.0, 0.5, 0.999, 1 - 2**-53))
        found["beta_2"] = rng.choice((0.0, 0.9, 0.99999, 1 - 2**-53))
        found["epsilon"] = rng.choice((1e-3, 1.0, 1e-30, 1e-150, 1e-300, 1e200, *SUBNORMAL))
    if rng.random() < 0.4:
        found["l2"] = rng.choice((1e-4, 0.1, 10.0, 1e5, 1e-200, 1e100, 1e300))
    if rng.random() < 0.4:
        found["clip_norm"] = rng.choice((1e-3, 0.1, 1.0, 100.0, 1e-100, 1e-310, 1e60, 1e300))
    if rng.random() < 0.3:
        found["weight_decay"] = rng.choice((0.0, 0.01, 1.0, 1e-200, 1e10, 1e300))
    if rng.random() < 0.5:
        found |= _drawn_schedule(rng)
    if rng.random() < 0.3:
        found |= _drawn_stopping(rng)
    if "loss" not in found and rng.random() < 0.3:
        drawn = [rng.choice((0.0, 0.25, 1.0, 3.0, 1e20, 1e-20)) for _ in range(outputs)]
        found["class_weight"] = rng.choice(("balanced", drawn if any(drawn) else "balanced"))
    return found


def _drawn_schedule(rng: random.Random) -> dict[str, Any]:
    found: dict[str, Any] = {"schedule": rng.choice(("step", "linear", "cosine", "adaptive"))}
    if found["schedule"] == "step":
        found["decay"] = rng.choice((0.1, 0.5, 0.9, 3.0, 1e-200))
        found["decay_every"] = rng.choice((1, 1, 2, LARGEST_COUNT))
    if found["schedule"] == "adaptive":
        found["patience"], found["tol"] = rng.choice((1, 1, 2)), rng.choice((0.0, 1e-4, 1e9))
    if rng.random() < 0.4:
        found["warmup"] = rng.choice((0.01, 0.5, 1.0, 1.7, 100.0))
    return found


def _drawn_stopping(rng: random.Random) -> dict[str, Any]:
    """An early end by rows held back, which keeps the best epoch's weights, or by the loss."""
    found: dict[str, Any] = {"patience": rng.choice((1, 1, 2)), "tol": rng.choice((0.0, 0.01, 1e9))}
    if rng.random() < 0.7:
        found["validation_split"] = rng.choice((0.1, 0.3, 0.5, 0.9))
        found["monitor"] = rng.choice((None, "train_loss", "validation_loss", "validation_score"))
    return found


def _drawn_warm(rng: random.Random, count: int, choices: dict[str, Any]) -> dict[str, Any] | None:
    """What a warm start changes, if there is one; a foreseen schedule has come to its end."""
    if choices.get("schedule") in FORESEEN or rng.random() < 0.8:
        return None
    if rng.random() < 0.4:
        return {}
    optimizer = choices.get("optimizer", "sgd")
    return {"epochs": rng.choice((1, 2)), "batch": _batch(rng, count), "lr": _rate(rng, optimizer)}


def _size(rng: random.Random) -> int:
    small = rng.choice((1, 1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 16, 24, 25))
    return small if rng.random() < 0.6 else rng.choice((31, 37, 64, 65, 100, 129, 200, 256, 300))


def _batch(rng: random.Random, count: int) -> int:
    fewest = max(1, count // BATCHES)
    drawn = (fewest, min(2, count), 7, 64, count // 2, count - 1, count, count + 1, 2**31, 2**53)
    return max(fewest, rng.choice((*drawn, rng.randint(1, count), rng.randint(1, count))))


def _rate(rng: random.Random, optimizer: str) -> float:
    drawn = rng.random()
    if drawn < 0.25 and optimizer != "sgd":
        return rng.choice((1e-5, 1e-4, 1e-3, 0.01, 0.02, 0.3))
    if drawn < 0.45:
        return rng.choice((0.01, 0.1, 0.1, 0.5, 1.0, 3.0, 10.0, 1e3, 3e3))
    if drawn < 0.6:
        return 10.0 ** rng.uniform(-5, 12)
    if drawn < 0.7:
        return rng.choice((1e29, 1e138, 1e139, 1e140, 1e141, 1e300, 1e-300, 5e-324))
    return 10.0 ** rng.uniform(-300, 300)


def _drawn_start(rng: random.Random, shape: list[int]) -> dict[str, Any]:
    kind = rng.choice(("he", "he", "he", *STARTS))
    names = tuple(model.shapes(tuple(shape)))
    return {
        "kind": kind,
        "names": [name for name in names if rng.random() < 0.6] or [names[-2]],
        "power": rng.choice((-40, -10, -1, 0, 1, 5, 7, 20, 23, 31, 60, 99, 300, 900)),
        "biases": rng.random() < 0.5,
        "settled": rng.random() < 0.6,  # or as they are: what is restored is not settled again
        "scaled": rng.random() < 0.5,  # W1 divided by how large its features are
    }


def _drawn_paths(rng: random.Random, batches: int) -> list[list[list[Any]]]:
    names, often = zip(*OFTEN.items(), strict=True)
    paths: list[list[list[Any]]] = [[["compiled", None]]]
    paths += [
        [[name, None]] for name in ("kernels", "torch", "strict", "cupy") if rng.random() < 0.2
    ]
    paths += [[[name, None]] for name in ("jax", "torch-cuda") if rng.random() < 0.02]
    if rng.random() < 0.5:
        hops = [[*rng.choices(names, often), rng.randint(0, batches + 1)]]
        while rng.random() < 0.5:
            hops.append([*rng.choices(names, often), rng.randint(1, batches + 1)])
        paths.append([*hops, [*rng.choices(names, often), None]])
    if rng.random() < 0.3:
        paths.append(_drawn_ranks(rng, batches))
    return paths


def _drawn_ranks(rng: random.Random, batches: int) -> list[list[Any]]:
    """On several ranks; perhaps killed, and on others, or on one, from there."""
    hops: list[list[Any]] = []
    while rng.random() < 0.4:
        hops.append([_company(rng, rng.randint(1, 5)), rng.randint(0, batches + 1)])
    return [*hops, [_company(rng, rng.choice((2, 2, 3, 3, 4, 5))), None]]


def _company(rng: random.Random, ranks: int) -> str:
    """What each of them is: all compiled, as users have it, or one and another."""
    if rng.random() < 0.6:
        return "+".join(["compiled"] * ranks)
    kinds = {"definition": 2, "compiled": 3, "torch": 1, "strict": 1}
    return "+".join(rng.choices(tuple(kinds), tuple(kinds.values()), k=ranks))


DIVISIONS = [[1, 1], [2, 1], [3, 1], [5, 1], [8, 1], [1, 2], [1, 5], [2, 2], [3, 3]]
OFTEN = {
    "definition": 3, "compiled": 6, "kernels": 1, "torch": 2, "strict": 1, "cupy": 0.5, "jax": 0.05,
}  # fmt: skip

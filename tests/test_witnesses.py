"""Outside witnesses of the mathematics: PyTorch and scikit-learn, from the same start and order.

They share no code with the package and get their gradients in another way: PyTorch differentiates
its own losses, scikit-learn has a backpropagation of its own.  In native float64 what is learned
can differ by rounding alone.  Where one of them means something else on purpose, a comment says so.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest

from backendmlp import MLP
from backendmlp.network import model

Arrays = dict[str, np.ndarray]

ROWS, FEATURES, CLASSES, BATCH = 90, 6, 4, 16  # six steps an epoch, the last on ten rows
EPOCHS = 34  # 204 steps
FLOAT64 = {"numerics": "native", "dtype": "float64"}


def drawn(hidden: tuple[int, ...], outputs: int, seed: int = 1) -> Arrays:
    """Starting parameters, the biases too."""
    rng = np.random.default_rng(seed)
    shapes = model.shapes((FEATURES, *hidden, outputs))
    return {k: rng.normal(size=s) * (0.6 if k[0] == "W" else 0.1) for k, s in shapes.items()}


def features() -> np.ndarray:
    return np.random.default_rng(2).normal(size=(ROWS, FEATURES))


def labels() -> np.ndarray:
    """Classes that the features tell of, one row in ten aside."""
    rng = np.random.default_rng(3)
    found = (features() @ rng.normal(size=(FEATURES, CLASSES))).argmax(axis=1)
    return np.where(rng.random(ROWS) < 0.1, rng.integers(0, CLASSES, ROWS), found)


def targets(outputs: int) -> np.ndarray:
    rng, x = np.random.default_rng(4), features()
    return np.sin(x @ rng.normal(size=(FEATURES, outputs))) + 0.1 * rng.normal(size=(ROWS, outputs))


def sample_weights() -> np.ndarray:
    """Some of them zero."""
    rng = np.random.default_rng(5)
    return np.where(rng.random(ROWS) < 0.2, 0.0, rng.exponential(size=ROWS))


def assert_near(found: Arrays, expected: Arrays, within: float) -> None:
    assert set(found) == set(expected)
    worst = {name: float(np.abs(found[name] - value).max()) for name, value in expected.items()}
    assert max(worst.values()) < within, worst


# PyTorch: its optimisers, its losses, and gradients by its own differentiation.

RATE = {"sgd": 0.1, "momentum": 0.02, "nesterov": 0.02, "adam": 0.005, "adamw": 0.005}
CASES: dict[str, dict[str, Any]] = {
    "descent": {},
    "momentum": {"optimizer": "momentum"},
    "momentum of 0.5": {"optimizer": "momentum", "momentum": 0.5},
    "nesterov": {"optimizer": "nesterov"},
    "adam": {"optimizer": "adam"},
    "adam, other betas": {"optimizer": "adam", "beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.3},
    "l2": {"l2": 0.5},
    "l2 with momentum": {"l2": 0.5, "optimizer": "momentum"},
    "l2 with nesterov": {"l2": 0.5, "optimizer": "nesterov"},
    "l2 with adam": {"l2": 0.5, "optimizer": "adam"},
    "clipped": {"clip_norm": 0.3},
    "clipped, l2": {"clip_norm": 0.3, "l2": 1.0},
    "clipped, nesterov": {"clip_norm": 0.2, "optimizer": "nesterov"},
    "clipped, adam": {"clip_norm": 0.2, "optimizer": "adam", "l2": 1.0},
    "smoothed": {"label_smoothing": 0.2},
    "class weights": {"class_weight": (1.0, 0.25, 3.0, 0.0)},
    "balanced": {"class_weight": "balanced"},
    "sample weights": {"sample_weight": True},
    "sample weights, class weights, smoothed": {
        "sample_weight": True, "class_weight": (1.0, 0.25, 3.0, 0.5), "label_smoothing": 0.1,
    },
    "sample weights, l2, clipped, adam": {
        "sample_weight": True, "l2": 0.5, "clip_norm": 0.3, "optimizer": "adam",
    },
    "one output": {"loss": "squared_error", "outputs": 1},
    "three outputs": {"loss": "squared_error", "outputs": 3, "optimizer": "adam"},
    "three outputs, weights, l2": {
        "loss": "squared_error", "outputs": 3, "sample_weight": True, "l2": 0.5,
        "optimizer": "nesterov",
    },
    "step": {"schedule": "step", "decay": 0.5, "decay_every": 5},
    "linear": {"schedule": "linear", "optimizer": "adam"},
    "linear, warmed up": {"schedule": "linear", "warmup": 1.5},
    "cosine": {"schedule": "cosine"},
    "cosine, warmed up, adamw": {"schedule": "cosine", "warmup": 3, "optimizer": "adamw"},
    **{activation: {"activation": activation} for activation in ("relu", "tanh", "logistic")},
    "identity": {"activation": "identity"},
    **{
        f"{len(hidden)} hidden layers, {activation}": {"hidden": hidden, "activation": activation}
        for hidden in ((), (5,), (7, 3), (8, 5, 4))
        for activation in ("relu", "tanh")
    },
    "everything at once": {
        "hidden": (8, 5), "activation": "logistic", "optimizer": "adamw", "schedule": "cosine",
        "warmup": 2, "l2": 0.2, "clip_norm": 0.5, "label_smoothing": 0.1, "sample_weight": True,
        "class_weight": "balanced",
    },
}  # fmt: skip


def schedule(choices: dict[str, Any], step: int) -> float:
    """What a step's rate is multiplied by, of the textbook's formula."""
    per_epoch = math.ceil(ROWS / BATCH)
    warmup = math.ceil(choices.get("warmup", 0) * per_epoch)
    climbed = min(1.0, (step + 1) / warmup) if warmup else 1.0
    behind, all_behind = max(step - warmup, 0), EPOCHS * per_epoch - warmup
    kind = choices.get("schedule", "constant")
    if kind == "step":
        return climbed * choices["decay"] ** (behind // per_epoch // choices["decay_every"])
    if kind == "linear":
        return climbed * (1.0 - behind / all_behind)
    if kind == "cosine":
        return climbed * 0.5 * (1.0 + math.cos(math.pi * behind / all_behind))
    return climbed


def by_torch(
    choices: dict[str, Any], start: Arrays, orders: list[np.ndarray], row_weights: np.ndarray
) -> Arrays:
    torch = pytest.importorskip("torch")
    p = {k: torch.tensor(v, dtype=torch.float64, requires_grad=True) for k, v in start.items()}
    x = torch.tensor(features())
    kind, smoothing = choices["optimizer"], choices.get("label_smoothing", 0.0)
    l2, clip = choices.get("l2", 0.0), choices.get("clip_norm")
    regression = choices.get("loss") == "squared_error"
    y = torch.tensor(targets(choices["outputs"]) if regression else labels())
    act = {"relu": torch.relu, "tanh": torch.tanh, "logistic": torch.sigmoid}.get(
        choices.get("activation", "relu"), lambda z: z
    )
    layers = len(p) // 2
    groups = [{"params": [p[f"{kind}{i}"] for i in range(1, layers + 1)]} for kind in "Wb"]
    rate = RATE[kind]
    if kind == "adam":
        betas = choices.get("beta_1", 0.9), choices.get("beta_2", 0.999)
        optimizer = torch.optim.Adam(groups, lr=rate, betas=betas, eps=choices.get("epsilon", 1e-8))
    elif kind == "adamw":  # biases do not decay
        groups[0]["weight_decay"] = choices.get("weight_decay", 0.01)
        groups[1]["weight_decay"] = 0.0
        optimizer = torch.optim.AdamW(groups, lr=rate)
    else:
        momentum = 0.0 if kind == "sgd" else choices.get("momentum", 0.9)
        optimizer = torch.optim.SGD(groups, lr=rate, momentum=momentum, nesterov=kind == "nesterov")
    # PyTorch adds its weight_decay behind the clipping, and the decay of AdamW is not l2: then l2
    # is a part of the loss, which is what it means.
    as_decay = l2 and clip is None and kind != "adamw"
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(choices, step))
    by_class = choices.get("class_weight")
    for order in orders:
        for at in range(0, ROWS, BATCH):
            rows = torch.tensor(order[at : at + BATCH])
            z = x[rows]
            for layer in range(1, layers):
                z = act(z @ p[f"W{layer}"] + p[f"b{layer}"])
            z = z @ p[f"W{layers}"] + p[f"b{layers}"]
            weights = torch.tensor(row_weights)[rows]
            if regression:  # half the square, summed over outputs: PyTorch's has a mean of squares
                loss = torch.nn.functional.mse_loss(z, y[rows], reduction="none").sum(1) / 2
                loss = (loss * weights).sum() / weights.sum()
            elif isinstance(by_class, tuple) and "sample_weight" not in choices and not smoothing:
                loss = torch.nn.functional.cross_entropy(
                    z, y[rows], weight=torch.tensor(by_class, dtype=torch.float64)
                )
            else:
                # With both smoothing and weight=, PyTorch weighs every class's share of a target by
                # that class; ours is what scikit-learn means by weights, one for the whole row.
                loss = torch.nn.functional.cross_entropy(
                    z, y[rows], label_smoothing=smoothing, reduction="none"
                )
                loss = (loss * weights).sum() / weights.sum()
            if as_decay:
                optimizer.param_groups[0]["weight_decay"] = float(l2 / weights.sum())
            elif l2:
                squares = sum((p[f"W{i}"] ** 2).sum() for i in range(1, layers + 1))
                loss = loss + squares * l2 / (2 * weights.sum())
            optimizer.zero_grad()
            loss.backward()
            if clip is not None:  # clip_grad_norm_ adds 1e-6 to the norm; the paper does not
                norm = torch.sqrt(sum((v.grad**2).sum() for v in p.values()))
                for v in p.values():
                    v.grad *= min(1.0, clip / float(norm))
            optimizer.step()
            scheduler.step()
    return {k: v.detach().numpy() for k, v in p.items()}


def weights_of_rows(choices: dict[str, Any]) -> np.ndarray:
    """What each row counts for: its own weight times its class's."""
    found = sample_weights() if choices.get("sample_weight") else np.ones(ROWS)
    by_class = choices.get("class_weight")
    if by_class == "balanced":
        by_class = ROWS / (CLASSES * np.bincount(labels()))
    return found if by_class is None else found * np.array(by_class)[labels()]


@pytest.mark.parametrize("name", CASES)
def test_pytorch_learns_the_same(name):
    choices = {"optimizer": "sgd", "hidden": (9,), **CASES[name]}
    regression = choices.get("loss") == "squared_error"
    start = drawn(choices["hidden"], choices.get("outputs", CLASSES))
    orders = [np.random.default_rng([9, epoch]).permutation(ROWS) for epoch in range(EPOCHS)]
    expected = by_torch(choices, start, orders, weights_of_rows(choices))

    y = targets(choices["outputs"]) if regression else labels()
    ours = {k: v for k, v in choices.items() if k not in ("outputs", "sample_weight")}
    mlp = MLP(epochs=EPOCHS, batch_size=BATCH, lr=RATE[ours["optimizer"]], **ours, **FLOAT64)
    mlp.fit(
        features(), y, parameters=start, order=orders,
        sample_weight=sample_weights() if choices.get("sample_weight") else None,
    )  # fmt: skip
    assert_near(mlp.parameters, expected, 1e-10)
    assert all(np.abs(mlp.parameters[k] - start[k]).max() > 0.01 for k in start)  # it did learn


@pytest.mark.parametrize("nesterov", [False, True])
def test_a_schedule_with_momentum_is_scikit_learns_and_not_pytorchs(nesterov):
    """With a rate that changes, v = mu v + rate g, taken off as it is, is not rate (mu v + g).

    The first is Sutskever's and Goodfellow's, and scikit-learn's; PyTorch has the second.
    """
    kind = "nesterov" if nesterov else "momentum"
    choices = {"schedule": "cosine", "optimizer": kind, "activation": "tanh"}
    start, x, y = drawn((), 1), features(), targets(1)
    orders = [np.random.default_rng([9, epoch]).permutation(ROWS) for epoch in range(EPOCHS)]
    W, b, step = start["W1"].copy(), start["b1"].copy(), 0
    v, u = np.zeros_like(W), np.zeros_like(b)
    for order in orders:
        for at in range(0, ROWS, BATCH):
            rows = order[at : at + BATCH]
            errors = (x[rows] @ W + b - y[rows]) / len(rows)
            rate = 0.02 * schedule(choices, step)
            changes = rate * (x[rows].T @ errors), rate * errors.sum(0)
            v, u = 0.9 * v + changes[0], 0.9 * u + changes[1]
            W = W - (0.9 * v + changes[0] if nesterov else v)
            b = b - (0.9 * u + changes[1] if nesterov else u)
            step += 1
    mlp = MLP(
        (), epochs=EPOCHS, batch_size=BATCH, lr=0.02, loss="squared_error", **choices, **FLOAT64
    )
    mlp.fit(x, y, parameters=start, order=orders)
    assert_near(mlp.parameters, {"W1": W, "b1": b}, 1e-12)
    plain = by_torch(
        {**choices, "loss": "squared_error", "outputs": 1}, start, orders, np.ones(ROWS)
    )
    assert np.abs(plain["W1"] - W).max() > 1e-6


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_decay_apart_from_the_gradient(optimizer):
    """W - rate * decay * W besides the step: Loshchilov and Hutter (2019), algorithms 1 and 2."""
    start, orders = drawn((5,), CLASSES), [np.arange(ROWS)]
    settings = {"epochs": 1, "batch_size": ROWS, "lr": 0.1, "optimizer": optimizer, **FLOAT64}
    found = {}
    for decay in (0.0, 0.3):
        mlp = MLP(5, weight_decay=decay, **settings)
        found[decay] = mlp.fit(features(), labels(), parameters=start, order=orders).parameters
    for name, value in found[0.3].items():
        pull = 0.1 * 0.3 * start[name] if name[0] == "W" else 0.0
        np.testing.assert_allclose(value, found[0.0][name] - pull, rtol=0, atol=1e-15)


# scikit-learn: whole runs, to where they end by themselves.


def perceptron(kind: str, start: Arrays, **settings: Any) -> Any:
    """scikit-learn's, begun at ``start`` instead of its own draw."""
    network = pytest.importorskip("sklearn.neural_network")
    base = getattr(network, kind)
    layers = iter(range(1, len(start) // 2 + 1))

    class Begun(base):
        def _init_coef(self, fan_in: int, fan_out: int, dtype: Any) -> tuple[Any, Any]:
            layer = next(layers)
            return start[f"W{layer}"].copy(), start[f"b{layer}"].copy()

    # scikit-learn asks a subclass's own __init__ for its parameters' names.
    Begun.__init__ = base.__init__
    return Begun(shuffle=False, batch_size=BATCH, random_state=0, **settings)


def learned(theirs: Any) -> Arrays:
    found = {f"W{i}": W for i, W in enumerate(theirs.coefs_, 1)}
    return found | {f"b{i}": b for i, b in enumerate(theirs.intercepts_, 1)}


# scikit-learn's Adam has its epsilon beside the root of the uncorrected second moment, where the
# paper's algorithm 1, PyTorch's and ours have it beside the corrected one: a tiny one shows all but
# that.
TINY = 1e-30
SOLVERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "sgd": (
        {"solver": "sgd", "learning_rate_init": 0.1, "momentum": 0.0},
        {"optimizer": "sgd", "lr": 0.1},
    ),
    "momentum": (
        {"solver": "sgd", "learning_rate_init": 0.02, "nesterovs_momentum": False},
        {"optimizer": "momentum", "lr": 0.02},
    ),
    "nesterov": (
        {"solver": "sgd", "learning_rate_init": 0.02, "momentum": 0.8},
        {"optimizer": "nesterov", "lr": 0.02, "momentum": 0.8},
    ),
    "adam": (
        {"solver": "adam", "learning_rate_init": 0.002, "epsilon": TINY},
        {"optimizer": "adam", "lr": 0.002, "epsilon": TINY},
    ),
    "adaptive": (
        {"solver": "sgd", "learning_rate_init": 0.3, "learning_rate": "adaptive",
         "n_iter_no_change": 3, "tol": 3e-3},
        {"optimizer": "nesterov", "lr": 0.3, "schedule": "adaptive", "patience": 3, "tol": 3e-3},
    ),
    "ended by the loss": (
        {"solver": "sgd", "learning_rate_init": 0.05, "n_iter_no_change": 4, "tol": 2e-3},
        {"optimizer": "nesterov", "lr": 0.05, "patience": 4, "tol": 2e-3},
    ),
}  # fmt: skip
RUNS = {"epochs": 60, "batch_size": BATCH, **FLOAT64}


def fit_quietly(theirs: Any, *given: Any, **weights: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a training that might go on
        return theirs.fit(*given, **weights)


def in_order(count: int = ROWS, epochs: int = RUNS["epochs"]) -> list[np.ndarray]:
    return [np.arange(count)] * epochs


KINDS = [
    pytest.param(solver, activation, hidden, marks=marks, id=f"{solver}, {activation}")
    for solver in SOLVERS
    for activation, hidden, marks in (
        ("tanh", (9,), ()),
        ("relu", (8, 5), pytest.mark.slow),
        ("logistic", (7, 6, 5), pytest.mark.slow),
    )
]


@pytest.mark.parametrize(("solver", "activation", "hidden"), KINDS)
@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_scikit_learn_classifies_the_same(solver, activation, hidden, alpha):
    theirs, ours = SOLVERS[solver]
    # Three classes or more: of two, scikit-learn has one logistic output, and ours has two.
    start, x, y = drawn(hidden, CLASSES), features(), labels()
    expected = perceptron(
        "MLPClassifier", start, hidden_layer_sizes=hidden, activation=activation, alpha=alpha,
        max_iter=RUNS["epochs"], **{"tol": 0.0, "n_iter_no_change": 1000, **theirs},
    )  # fmt: skip
    fit_quietly(expected, x, y)
    mlp = MLP(hidden, activation=activation, l2=alpha, **RUNS, **ours)
    mlp.fit(x, y, parameters=start, order=in_order())
    assert len(mlp.history) == expected.n_iter_
    assert_near(mlp.parameters, learned(expected), 1e-8)
    losses = [record.train_loss for record in mlp.history]
    np.testing.assert_allclose(losses, expected.loss_curve_, rtol=0, atol=1e-8)
    np.testing.assert_allclose(mlp.predict_proba(x), expected.predict_proba(x), rtol=0, atol=1e-8)


@pytest.mark.parametrize(("solver", "activation", "hidden"), KINDS)
@pytest.mark.parametrize("outputs", [1, 3])
def test_scikit_learn_regresses_the_same(solver, activation, hidden, outputs):
    theirs, ours = SOLVERS[solver]
    start, x, y = drawn(hidden, outputs), features(), targets(outputs)
    expected = perceptron(
        "MLPRegressor", start, hidden_layer_sizes=hidden, activation=activation, alpha=0.3,
        max_iter=RUNS["epochs"], **{"tol": 0.0, "n_iter_no_change": 1000, **theirs},
    )  # fmt: skip
    # scikit-learn's loss is a mean over outputs, and its gradient that of the sum over them, which
    # is what ours are both: the losses differ by that factor, where a penalty does not veil it.
    if outputs > 1:
        expected.alpha = 0.0
        if "tol" in theirs:
            theirs = {**theirs, "tol": theirs["tol"] / outputs}
            expected.tol = theirs["tol"]
    fit_quietly(expected, x, y.ravel() if outputs == 1 else y)
    alpha = 0.3 if outputs == 1 else 0.0
    mlp = MLP(hidden, activation=activation, loss="squared_error", l2=alpha, **RUNS, **ours)
    mlp.fit(x, y[:, 0] if outputs == 1 else y, parameters=start, order=in_order())
    assert len(mlp.history) == expected.n_iter_
    assert_near(mlp.parameters, learned(expected), 1e-8)
    losses = [record.train_loss / outputs for record in mlp.history]
    np.testing.assert_allclose(losses, expected.loss_curve_, rtol=0, atol=1e-8)
    np.testing.assert_allclose(mlp.predict(x), expected.predict(x), rtol=0, atol=1e-8)
    assert mlp.score(x, y) == pytest.approx(expected.score(x, y), abs=1e-8)


def test_an_adaptive_rate_was_divided():
    """The run that is compared above does what it is there for."""
    ours = SOLVERS["adaptive"][1]
    mlp = MLP(9, activation="tanh", **RUNS, **ours)
    mlp.fit(features(), labels(), parameters=drawn((9,), CLASSES), order=in_order())
    other = MLP(9, activation="tanh", **RUNS, **{**ours, "schedule": "constant"})
    other.fit(features(), labels(), parameters=drawn((9,), CLASSES), order=in_order())
    assert len(mlp.history) > len(other.history)  # which ended where the rate was first divided


@pytest.mark.parametrize("solver", ["nesterov", "adam"])
def test_scikit_learn_stops_early_at_the_same_epoch(solver):
    """By the accuracy on its own validation rows, and with the best epoch's weights."""
    split = pytest.importorskip("sklearn.model_selection").train_test_split
    theirs, ours = SOLVERS[solver]
    start, x, y = drawn((9,), CLASSES), features(), labels()
    expected = perceptron(
        "MLPClassifier", start, hidden_layer_sizes=(9,), activation="tanh", early_stopping=True,
        validation_fraction=0.3, n_iter_no_change=5, tol=1e-3, max_iter=RUNS["epochs"], **theirs,
    )  # fmt: skip
    fit_quietly(expected, x, y)
    rows, held = split(np.arange(ROWS), random_state=0, test_size=0.3)  # as it draws them
    mlp = MLP(
        9, activation="tanh", l2=1e-4, patience=5, tol=1e-3, monitor="validation_score",
        **RUNS, **ours,
    )  # fmt: skip
    mlp.fit(
        x[rows], y[rows], validation=(x[held], y[held]), parameters=start,
        order=in_order(len(rows)), class_names=list("abcd"),
    )  # fmt: skip
    assert 5 < len(mlp.history) == expected.n_iter_ < RUNS["epochs"]
    scores = [record.validation_accuracy for record in mlp.history]
    assert scores == pytest.approx(expected.validation_scores_, abs=1e-12)
    assert_near(mlp.parameters, learned(expected), 1e-8)


def test_scikit_learn_weighs_samples_the_same():
    """Their epoch's loss counts each batch by its rows, ours by its weight: not compared."""
    weights = sample_weights()
    start, x, y = drawn((9,), CLASSES), features(), labels()
    expected = perceptron(
        "MLPClassifier", start, hidden_layer_sizes=(9,), activation="tanh", alpha=0.2,
        max_iter=RUNS["epochs"], tol=0.0, n_iter_no_change=1000, **SOLVERS["nesterov"][0],
    )  # fmt: skip
    try:
        fit_quietly(expected, x, y, sample_weight=weights)
    except TypeError:
        pytest.skip("this scikit-learn knows no weights of samples here")
    mlp = MLP(9, activation="tanh", l2=0.2, **RUNS, **SOLVERS["nesterov"][1])
    mlp.fit(x, y, parameters=start, order=in_order(), sample_weight=weights)
    assert_near(mlp.parameters, learned(expected), 1e-8)

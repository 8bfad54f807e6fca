"""What accuracy bitwise numerics reach, beside native float64 and scikit-learn, on real data.

    python scripts/accuracy.py [--data DIR] [--seeds 3] [PART ...]

The parts: ``features``, settled ones of scikit-learn's own sets; ``images``, MNIST and
Fashion-MNIST by 256-128 with Adam; ``regression``, diabetes beside scikit-learn's regressor;
``grid``, whether Adam's small steps lose by the parameters' grid of 2**-29.  Needs scikit-learn;
``--data`` is a folder of MNIST's IDX files, and Fashion-MNIST is found as ``backendmlp train`` has
it.  Prints a table for each part, mean and spread over seeds, each of which draws the weights and
shuffles, and splits data that are not split.  ``docs/accuracy.md`` holds what was seen.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPRegressor

from backendmlp import MLP, Dataset, InputError, load_folder, load_named

Split = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
Choices = dict[str, Any]
Found = dict[str, dict[str, list[float]]]  # by row and column, one of each seed

SETS = {"digits": load_digits, "cancer": load_breast_cancer, "wine": load_wine}
NUMERICS = {"bitwise": None, "native float64": "float64"}
IMAGES = {
    "hidden": (256, 128), "optimizer": "adam", "lr": 1e-3, "schedule": "cosine", "epochs": 15,
    "batch_size": 128,
}  # fmt: skip
LEAST = {"MNIST": 98.0, "Fashion-MNIST": 89.0}


def standardised(x: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    spread = x.std(axis=0)
    spread[spread == 0.0] = 1.0
    return (x - x.mean(axis=0)) / spread, (test - x.mean(axis=0)) / spread


def fitted(numerics: str, choices: Choices, train: tuple[Any, Any], seed: int) -> MLP:
    kind = numerics.partition(" ")[0]
    return MLP(numerics=kind, dtype=NUMERICS[numerics], seed=seed, **choices).fit(*train)


def add(found: Found, row: str, column: str, value: float) -> None:
    found.setdefault(row, {}).setdefault(column, []).append(value)


# Settled features.


def small(seed: int) -> Iterator[tuple[str, Split, Choices]]:
    """scikit-learn's sets: standardised, as they are, and with columns 10**-6 to 10**6 as large."""
    for name, load in SETS.items():
        x, y = load(return_X_y=True)
        train, test, y_train, y_test = train_test_split(
            x, y, test_size=0.3, random_state=seed, stratify=y
        )
        how = {"hidden": 64, "epochs": 40, "batch_size": 32, "lr": 0.1}
        yield f"{name}, standardised", (*standardised(train, test), y_train, y_test), how
        largest = train.max()
        data = (train / largest, test / largest, y_train, y_test)
        yield f"{name}, divided by its largest number", data, {**how, "lr": 0.5}
        scales = 10.0 ** np.random.default_rng(seed).integers(-6, 7, x.shape[1])
        scaled = standardised(train * scales, test * scales)
        yield f"{name}, columns rescaled, standardised", (*scaled, y_train, y_test), how
        uneven = standardised(train, test)
        few = 10.0 ** np.random.default_rng(seed).integers(-4, 1, x.shape[1])
        data = (uneven[0] * few, uneven[1] * few, y_train, y_test)
        yield f"{name}, standardised, then columns 1 to 10**-4 as large", data, how


def standardised_mnist(data: Dataset) -> tuple[str, Split, Choices]:
    train, test = (x.reshape(len(x), -1) / 255 for x in (data.train_images, data.test_images))
    settings = {"hidden": 64, "epochs": 5, "batch_size": 64, "lr": 0.02}
    split = (*standardised(train, test), data.train_labels, data.test_labels)
    return "MNIST, standardised by feature", split, settings


def features(seeds: int, mnist: Dataset | None) -> Found:
    found: Found = {}
    for seed in range(seeds):
        problems = list(small(seed))
        if mnist is not None and seed < 3:
            problems.append(standardised_mnist(mnist))
        for name, (train, test, y_train, y_test), settings in problems:
            for numerics in NUMERICS:
                mlp = fitted(numerics, settings, (train, y_train), seed)
                add(found, name, numerics, 100 * mlp.score(test, y_test))
    return found


# Images.


def images(seeds: int, mnist: Dataset | None) -> Found:
    """Test accuracy of 256-128 with Adam, of the two well-known sets; exit code 1 below LEAST."""
    found: Found = {}
    sets = {"Fashion-MNIST": load_named("fashion-mnist")}
    if mnist is not None:
        sets = {"MNIST": mnist, **sets}
    for name, data in sets.items():
        for seed in range(seeds):
            for numerics in NUMERICS:
                mlp = fitted(numerics, IMAGES, (data.train_images, data.train_labels), seed)
                score = 100 * mlp.score(data.test_images, data.test_labels)
                add(found, name, numerics, score)
                click.echo(f"{name}, seed {seed}, {numerics}: {score:.2f} %", err=True)
        if np.mean(found[name]["bitwise"]) < LEAST[name]:
            raise click.ClickException(f"{name}: {found[name]}, below {LEAST[name]} %")
    return found


def grid(seeds: int, mnist: Dataset | None) -> Found:
    """Training loss after two epochs of Adam, constant rates from 1e-3 down to 1e-5."""
    data = mnist or load_named("fashion-mnist")
    found: Found = {}
    for rate in (1e-3, 1e-4, 1e-5, 1e-6):
        choices = {**IMAGES, "lr": rate, "schedule": "constant", "epochs": 2}
        for seed in range(seeds):
            for numerics in NUMERICS:
                mlp = fitted(numerics, choices, (data.train_images, data.train_labels), seed)
                score = mlp.score(data.test_images, data.test_labels)
                add(found, f"rate {rate:g}, accuracy", numerics, 100 * score)
                add(
                    found,
                    f"rate {rate:g}, loss x 1000",
                    numerics,
                    1000 * mlp.history[-1].train_loss,
                )
    return found


# Regression.


def regression(seeds: int, mnist: Dataset | None) -> Found:
    """R squared of diabetes, which scikit-learn ships, in %: the same network by all of them."""
    found: Found = {}
    x, y = load_diabetes(return_X_y=True)
    for seed in range(seeds):
        train, test, y_train, y_test = train_test_split(x, y, test_size=0.3, random_state=seed)
        train, test = standardised(train, test)
        mean, spread = y_train.mean(), y_train.std()
        y_train, y_test = (y_train - mean) / spread, (y_test - mean) / spread
        ours = {
            "hidden": (32, 16), "activation": "tanh", "loss": "squared_error", "epochs": 60,
            "batch_size": 32, "lr": 0.01, "l2": 3.0, "optimizer": "nesterov",
        }  # fmt: skip
        for numerics in NUMERICS:
            mlp = fitted(numerics, ours, (train, y_train), seed)
            add(found, "diabetes", numerics, 100 * mlp.score(test, y_test))
        theirs = MLPRegressor(
            hidden_layer_sizes=(32, 16), activation="tanh", solver="sgd", alpha=3.0,
            learning_rate_init=0.01, batch_size=32, max_iter=60, tol=0.0, n_iter_no_change=60,
            random_state=seed,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a training that might go on
            theirs.fit(train, y_train)
        add(found, "diabetes", "scikit-learn", 100 * theirs.score(test, y_test))
    return found


PARTS: dict[str, tuple[str, Callable[[int, Dataset | None], Found]]] = {
    "features": ("test accuracy, %", features),
    "images": ("test accuracy, %", images),
    "grid": ("Adam at", grid),
    "regression": ("R squared, %", regression),
}


def table(what: str, found: Found) -> Iterator[str]:
    columns = list(next(iter(found.values())))
    yield f"| {what} | {' | '.join(columns)} | difference |"
    yield "|---" * (len(columns) + 2) + "|"
    for name, row in found.items():
        cells = [_spread(row[column]) for column in columns]
        gap = np.subtract(row["bitwise"], row["native float64"])
        yield f"| {name} | {' | '.join(cells)} | {gap.mean():+.2f} ± {gap.std():.2f} |"


def _spread(values: list[float]) -> str:
    return f"{np.mean(values):.2f} ± {np.std(values):.2f}"


@click.command(help=__doc__.partition("\n")[0])
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)))
@click.option("--data", type=click.Path(path_type=Path), help="A folder of MNIST's IDX files.")
@click.option("--seeds", default=3, show_default=True)
def main(parts: tuple[str, ...], data: Path | None, seeds: int) -> None:
    try:
        mnist = None if data is None else load_folder(data)
    except InputError as error:
        raise click.UsageError(str(error)) from error
    for part in parts or PARTS:
        what, measure = PARTS[part]
        click.echo("\n".join(table(what, measure(seeds, mnist))) + "\n")


if __name__ == "__main__":
    main()

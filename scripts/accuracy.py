"""Whether settled features cost accuracy: bitwise numerics beside native float64, on real data.

    python scripts/accuracy.py [--data DIR] [--seeds 10]

needs scikit-learn, which brings digits, breast cancer and wine along; ``--data`` is a folder of
MNIST's IDX files.  Prints a table of test accuracies, mean and spread over seeds, each of which
splits the data, draws the weights and shuffles.  ``docs/accuracy.md`` holds what was seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.model_selection import train_test_split

from backendmlp import MLP, load_folder

Split = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
SETS = {"digits": load_digits, "cancer": load_breast_cancer, "wine": load_wine}
NUMERICS = {"bitwise": None, "native": "float64"}


def standardised(x: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    spread = x.std(axis=0)
    spread[spread == 0.0] = 1.0
    return (x - x.mean(axis=0)) / spread, (test - x.mean(axis=0)) / spread


def small(seed: int) -> Iterator[tuple[str, Split, dict[str, float]]]:
    """scikit-learn's sets: standardised, as they are, and with columns 10**-6 to 10**6 as large."""
    for name, load in (
        ("digits", load_digits),
        ("cancer", load_breast_cancer),
        ("wine", load_wine),
    ):
        x, y = load(return_X_y=True)
        train, test, y_train, y_test = train_test_split(
            x, y, test_size=0.3, random_state=seed, stratify=y
        )
        how = {"epochs": 40, "batch_size": 32, "lr": 0.1}
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


def mnist(folder: Path) -> tuple[str, Split, dict[str, float]]:
    data = load_folder(folder)
    train, test = (x.reshape(len(x), -1) / 255 for x in (data.train_images, data.test_images))
    settings = {"epochs": 5, "batch_size": 64, "lr": 0.02}
    split = (*standardised(train, test), data.train_labels, data.test_labels)
    return "MNIST, standardised by feature", split, settings


def accuracy(numerics: str, split: Split, settings: dict[str, float], seed: int) -> float:
    train, test, y_train, y_test = split
    mlp = MLP(64, numerics=numerics, dtype=NUMERICS[numerics], seed=seed, **settings)
    return mlp.fit(train, y_train).score(test, y_test)


@click.command(help=__doc__.partition("\n")[0])
@click.option("--data", type=click.Path(path_type=Path), help="A folder of MNIST's IDX files.")
@click.option("--seeds", default=10, show_default=True)
def main(data: Path | None, seeds: int) -> None:
    found: dict[str, dict[str, list[float]]] = {}
    for seed in range(seeds):
        for name, split, settings in small(seed):
            for numerics in NUMERICS:
                row = found.setdefault(name, {}).setdefault(numerics, [])
                row.append(accuracy(numerics, split, settings, seed))
    if data is not None:
        name, split, settings = mnist(data)
        for seed in range(min(3, seeds)):
            for numerics in NUMERICS:
                row = found.setdefault(name, {}).setdefault(numerics, [])
                row.append(accuracy(numerics, split, settings, seed))
    click.echo("| test accuracy, % | bitwise | native float64 | difference |\n|---|---|---|---|")
    for name, row in found.items():
        ours, theirs = 100 * np.array(row["bitwise"]), 100 * np.array(row["native"])
        gap = ours - theirs
        click.echo(
            f"| {name} | {ours.mean():.2f} ± {ours.std():.2f} | {theirs.mean():.2f} ± "
            f"{theirs.std():.2f} | {gap.mean():+.2f} ± {gap.std():.2f} |"
        )


if __name__ == "__main__":
    main()

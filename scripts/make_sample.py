"""Make the sample in ``backendmlp/data/sample`` from the whole of Fashion-MNIST.

This is where the sample comes from:

    python scripts/make_sample.py /usr/share/datasets/fashion-mnist backendmlp/data/sample

The first images of each class are taken and keep their order.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from backendmlp.data import load_folder, write_idx
from backendmlp.data.dataset import FILES
from backendmlp.data.idx import Bytes

TRAIN_PER_CLASS = 1000
TEST_PER_CLASS = 200


def first_of_each_class(labels: Bytes, count: int) -> np.ndarray:
    """The positions, in order, of the first ``count`` labels of each class."""
    return np.sort(np.concatenate([np.flatnonzero(labels == c)[:count] for c in np.unique(labels)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path, help="folder of the four IDX files")
    parser.add_argument("target", type=Path, help="folder to write the sample into")
    arguments = parser.parse_args()
    whole = load_folder(arguments.source)
    train = first_of_each_class(whole.train_labels, TRAIN_PER_CLASS)
    test = first_of_each_class(whole.test_labels, TEST_PER_CLASS)
    for file, array, chosen in zip(FILES, whole.arrays, (train, train, test, test), strict=True):
        write_idx(arguments.target / f"{file}.gz", array[chosen])


if __name__ == "__main__":
    main()

"""Data sets and pictures: read, checked and, for those with a name, downloaded."""

from backendmlp.data.catalogue import load_named, load_sample
from backendmlp.data.dataset import Dataset, load_folder
from backendmlp.data.idx import read_idx, write_idx
from backendmlp.data.npz import load_file, load_inputs
from backendmlp.data.pictures import read_pictures

__all__ = [
    "Dataset",
    "load_file",
    "load_folder",
    "load_inputs",
    "load_named",
    "load_sample",
    "read_idx",
    "read_pictures",
    "write_idx",
]

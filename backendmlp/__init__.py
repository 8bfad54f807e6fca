"""Train a neural network once and get the same bits everywhere.

>>> import backendmlp
>>> data = backendmlp.load_sample()
>>> mlp = backendmlp.MLP(epochs=1).fit(data.train_images, data.train_labels)
>>> mlp.predict(data.test_images).shape
(2000,)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from backendmlp.errors import DataWarning, InputError
from backendmlp.version import __version__ as __version__

if TYPE_CHECKING:
    from backendmlp.backend import Backend, select
    from backendmlp.config import Config
    from backendmlp.data import Dataset, load_file, load_folder, load_named, load_sample
    from backendmlp.digests import digest
    from backendmlp.estimators.classifier import MLPClassifier as MLPClassifier
    from backendmlp.estimators.regressor import MLPRegressor as MLPRegressor
    from backendmlp.exchange.graph import export_onnx
    from backendmlp.mlp import MLP
    from backendmlp.network.evaluation import Evaluation
    from backendmlp.plots import figures
    from backendmlp.runs.folder import resume_run, train_run
    from backendmlp.runs.run import Run
    from backendmlp.runs.verification import Verdict, verify
    from backendmlp.sweeps.sweep import sweep
    from backendmlp.training.epochs import EpochRecord


# Loaded on first use: importing the package must cost little more than importing NumPy.
_HOMES = {
    "Backend": "backend",
    "Config": "config",
    "Dataset": "data",
    "EpochRecord": "training.epochs",
    "Evaluation": "network.evaluation",
    "MLP": "mlp",
    "MLPClassifier": "estimators.classifier",
    "MLPRegressor": "estimators.regressor",
    "Run": "runs.run",
    "Verdict": "runs.verification",
    "digest": "digests",
    "export_onnx": "exchange.graph",
    "figures": "plots",
    "load_file": "data",
    "load_folder": "data",
    "load_named": "data",
    "load_sample": "data",
    "resume_run": "runs.folder",
    "select": "backend",
    "sweep": "sweeps.sweep",
    "train_run": "runs.folder",
    "verify": "runs.verification",
}

# Without the estimators, which need scikit-learn: a star import must not.
__all__ = [
    "MLP",
    "Backend",
    "Config",
    "DataWarning",
    "Dataset",
    "EpochRecord",
    "Evaluation",
    "InputError",
    "Run",
    "Verdict",
    "digest",
    "export_onnx",
    "figures",
    "load_file",
    "load_folder",
    "load_named",
    "load_sample",
    "resume_run",
    "select",
    "sweep",
    "train_run",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name == "bitwise":
        return import_module(f"{__name__}.bitwise")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """What is meant for users, and not what this module is made of."""
    own = {name for name in globals() if name[:2] == name[-2:] == "__"}
    return sorted({*own, *_HOMES, *__all__, "bitwise"})

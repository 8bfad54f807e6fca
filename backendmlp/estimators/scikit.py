"""The one module that imports scikit-learn: whatever is needed of it comes from here.

The oldest version is 1.6, the first with the tags and ``validate_data`` that estimators outside of
scikit-learn are to use.
"""

from __future__ import annotations

from typing import Any

from backendmlp.errors import InputError
from backendmlp.extras import install

OLDEST = (1, 6)

try:
    import sklearn
except ImportError as error:
    raise InputError(
        f"the package 'scikit-learn' is not installed; install it with: {install('sklearn')}"
    ) from error
if tuple(map(int, sklearn.__version__.split(".")[:2])) < OLDEST:
    raise InputError(
        f"scikit-learn is {sklearn.__version__}, and 1.6 is the oldest; "
        f"install another with: {install('sklearn')}"
    )

from sklearn import get_config  # noqa: E402
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin  # noqa: E402
from sklearn.exceptions import ConvergenceWarning  # noqa: E402
from sklearn.utils import check_random_state, column_or_1d  # noqa: E402
from sklearn.utils.multiclass import check_classification_targets  # noqa: E402
from sklearn.utils.validation import check_is_fitted, validate_data  # noqa: E402

__all__ = [
    "BaseEstimator",
    "ClassifierMixin",
    "ConvergenceWarning",
    "RegressorMixin",
    "array_api_dispatch",
    "check_classification_targets",
    "check_is_fitted",
    "check_random_state",
    "column_or_1d",
    "label_binarizer",
    "neural_network",
    "validate_data",
]


def array_api_dispatch() -> bool:
    """Whether arrays of other libraries are to stay what they are."""
    return bool(get_config()["array_api_dispatch"])


def neural_network() -> Any:
    """scikit-learn's own perceptrons."""
    import sklearn.neural_network

    return sklearn.neural_network


def label_binarizer(labels: Any) -> Any:
    """What scikit-learn's perceptrons know their ``labels`` by."""
    from sklearn.preprocessing import LabelBinarizer

    return LabelBinarizer().fit(labels)

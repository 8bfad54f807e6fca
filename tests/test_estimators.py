"""The estimators as scikit-learn's users use them; its checks: ``test_estimator_checks.py``."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from conftest import PLACES, import_or_skip, open_or_skip

import backendmlp
from backendmlp import MLP, InputError, digest

import_or_skip("sklearn")

import joblib  # noqa: E402
import sklearn  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.calibration import CalibratedClassifierCV  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402
from sklearn.exceptions import ConvergenceWarning  # noqa: E402
from sklearn.inspection import permutation_importance  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

from backendmlp import MLPClassifier, MLPRegressor  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# Digits with standardised features, ten epochs, defaults.
GOLDEN = "7312c474b4025aff0e8e9c4562294388bd676889d8de88a78733208258a523e3"


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    x, y = load_digits(return_X_y=True)
    return StandardScaler().fit_transform(x), y


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    x = random.normal(size=(120, 6))
    return x, (x @ random.normal(size=(6, 3))).argmax(axis=1)


# -- bits ------------------------------------------------------------------------------------------


def test_what_is_no_data_is_told_in_words():
    pd = import_or_skip("pandas")
    x, y = np.arange(20.0).reshape(10, 2), np.arange(10) % 2
    model = backendmlp.MLPClassifier((2,), max_iter=1)
    with pytest.raises(InputError, match=r"one class only, 0\.0; give"):
        model.fit(x, y * 0.0)
    with pytest.raises(InputError, match="one class only, 'a'; give"):
        model.fit(x, np.array(["a"] * 10, object))
    with pytest.raises(InputError, match="no class; give labels of at least two"):
        model.partial_fit(x, y, classes=[])
    with pytest.raises(InputError, match="or class_weight='balanced'"):
        model.fit(x, y, sample_weight="balanced")
    dates = pd.DataFrame({"day": pd.date_range("2020-01-01", periods=10)})
    with pytest.raises(InputError, match="X holds dates or times in column 'day'"):
        model.fit(dates, y)


def test_digits_have_the_golden_digest(digits):
    model = MLPClassifier(max_iter=10).fit(*digits)
    assert model.weights_sha256_ == GOLDEN
    assert model.score(*digits) > 0.94


COMMON = {"batch_size": 32, "epochs": 8, "seed": 100, "l2": 1e-4}
STOPPING = {"patience": 10, "tol": 1e-4, "monitor": "train_loss"}
CASES = {
    "defaults": ({}, {"optimizer": "adam", **STOPPING}),
    "sgd": (
        {"solver": "sgd", "nesterovs_momentum": False, "learning_rate_init": 0.05},
        {"optimizer": "momentum", "momentum": 0.9, "lr": 0.05, **STOPPING},
    ),
    "plain": (
        {"solver": "sgd", "momentum": 0, "learning_rate": "adaptive", "activation": "tanh"},
        {"optimizer": "sgd", "lr": 0.001, "schedule": "adaptive", "activation": "tanh", **STOPPING},
    ),
    "early": (
        {"early_stopping": True, "validation_fraction": 0.25, "n_iter_no_change": 2},
        {
            "optimizer": "adam",
            "validation_split": 0.25,
            "patience": 2,
            "tol": 1e-4,
            "monitor": "validation_score",
        },
    ),
    "endless": (
        {"n_iter_no_change": np.inf, "solver": "adamw", "class_weight": {0: 2.0}},
        {"optimizer": "adamw", "class_weight": (2.0, 1.0, 1.0)},
    ),
}


@pytest.mark.parametrize("numerics", ["bitwise", "native"])
@pytest.mark.parametrize("case", CASES)
def test_bits_are_those_of_an_mlp(rows, case, numerics):
    theirs, ours = CASES[case]
    model = MLPClassifier((8, 4), batch_size=32, max_iter=8, numerics=numerics, **theirs)
    dtype = "float64" if numerics == "native" else None
    choices = {"lr": 0.001, "numerics": numerics, "dtype": dtype, **COMMON, **ours}
    mlp = MLP((8, 4), **choices).fit(*rows)
    assert model.fit(*rows).weights_sha256_ == digest(mlp.parameters)
    assert model.loss_curve_ == [record.train_loss for record in mlp.history]


def test_a_regressor_has_an_mlps_bits_too(rows):
    y = np.sin(rows[0][:, :2])
    mlp = MLP(8, lr=0.001, optimizer="adam", loss="squared_error", **COMMON, **STOPPING)
    model = MLPRegressor(8, batch_size=32, max_iter=8).fit(rows[0], y)
    assert model.weights_sha256_ == digest(mlp.fit(rows[0], y).parameters)
    assert model.predict(rows[0]).shape == y.shape


def test_rows_in_the_order_given(rows):
    model = MLPClassifier(8, batch_size=32, max_iter=3, shuffle=False).fit(*rows)
    mlp = MLP(8, lr=0.001, optimizer="adam", **{**COMMON, **STOPPING, "epochs": 3})
    mlp.fit(*rows, order=[np.arange(120)] * 3)
    assert model.weights_sha256_ == digest(mlp.parameters)


def test_a_grid_search_has_the_same_bits_with_any_number_of_workers(rows):
    found = []
    for jobs in (1, 2):
        search = GridSearchCV(
            make_pipeline(StandardScaler(), MLPClassifier(8, max_iter=10)),
            {"mlpclassifier__alpha": [1e-4, 1.0], "mlpclassifier__solver": ["adam", "sgd"]},
            n_jobs=jobs,
            cv=2,
            error_score="raise",
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            search.fit(*rows)
        found.append((search.best_estimator_[-1].weights_sha256_, search.best_params_))
        found[-1] += (search.cv_results_["mean_test_score"].tolist(),)
    assert found[0] == found[1]


def test_a_whole_weight_is_a_repetition_to_the_last_bit(rows):
    x, y = rows[0][:60], rows[1][:60]
    weight = np.arange(60) % 4
    one = MLPClassifier(8, max_iter=20).fit(x, y, sample_weight=weight)
    two = MLPClassifier(8, max_iter=20).fit(np.repeat(x, weight, 0), np.repeat(y, weight))
    assert one.weights_sha256_ == two.weights_sha256_
    # Beyond one batch they are weights, and zero still means that a row is not there.
    some = {"max_iter": 5, "batch_size": 16}
    three = MLPClassifier(8, **some).fit(x, y, sample_weight=weight)
    kept = weight > 0
    four = MLPClassifier(8, **some).fit(x[kept], y[kept], sample_weight=weight[kept])
    assert three.weights_sha256_ == four.weights_sha256_


# -- what scikit-learn does with an estimator ------------------------------------------------------


def test_what_takes_any_estimator(rows):
    model = make_pipeline(StandardScaler(), MLPClassifier(8, max_iter=60, learning_rate_init=0.02))
    assert cross_val_score(model, *rows, cv=3).mean() > 0.8
    calibrated = CalibratedClassifierCV(model, cv=2).fit(*rows)
    assert calibrated.predict_proba(rows[0]).shape == (120, 3)
    importance = permutation_importance(model.fit(*rows), *rows, n_repeats=2, random_state=0)
    assert importance.importances_mean.max() > 0.1
    copy = clone(model)
    assert not hasattr(copy[-1], "mlp_")
    assert copy.fit(*rows)[-1].weights_sha256_ == model[-1].weights_sha256_
    assert "MLPClassifier" in model._repr_html_()


@pytest.mark.parametrize("how", ["pickle", "joblib"])
def test_a_fitted_one_travels(rows, tmp_path, how):
    model = MLPClassifier(8, max_iter=3).fit(*rows)
    path = tmp_path / "model"
    if how == "pickle":
        path.write_bytes(pickle.dumps(model))
    else:
        joblib.dump(model, path)
    code = f"""
import {how}, numpy
with open({str(path)!r}, "rb") as file:
    model = {how}.load(file)
print(model.weights_sha256_, model.predict(numpy.ones((1, 6))).dtype)
"""
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert process.stdout.split() == [model.weights_sha256_, "int64"], process.stderr


@pytest.mark.parametrize(
    "labels",
    [
        ["b", "a", "ü"],
        [-1, 0, -7],
        [2.0, 1.0, 5.0],
        ["", " ", "1"],
        np.array([1, 2, 300], np.uint16),
        [True, False, True],
    ],
    ids=["texts", "negative", "floats", "blank", "uint16", "booleans"],
)
def test_any_labels(rows, labels):
    y = np.array(labels)[rows[1]]
    model = MLPClassifier(8, max_iter=60, learning_rate_init=0.02).fit(rows[0], y)
    assert model.classes_.tolist() == sorted(set(y.tolist()))
    assert model.classes_.dtype == model.predict(rows[0]).dtype == y.dtype
    assert model.score(rows[0], y) > 0.8
    assert model.predict_proba(rows[0]).shape == (120, len(model.classes_))
    assert digest(model.mlp_.parameters) == model.weights_sha256_


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_tables(rows, library):
    tables = import_or_skip(library)
    if library == "polars" and sklearn.__version__.startswith("1.6."):
        pytest.skip("scikit-learn 1.6 does not see the column names of today's polars")
    frame = tables.DataFrame({f"x{i}": column for i, column in enumerate(rows[0].T)})
    y = tables.Series("y", np.array(["a", "b", "c"])[rows[1]].tolist())
    if library == "pandas":
        y = tables.Series(np.array(["a", "b", "c"])[rows[1]])
    model = MLPClassifier(8, max_iter=5).fit(frame, y)
    assert model.feature_names_in_.tolist() == [f"x{i}" for i in range(6)]
    assert model.weights_sha256_ == MLPClassifier(8, max_iter=5).fit(*rows).weights_sha256_
    assert set(model.predict(frame)) <= {"a", "b", "c"}
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(rows[0])


# -- arrays of other libraries ---------------------------------------------------------------------


@pytest.fixture(params=["torch", "jax", "strict-device1"])
def elsewhere(request) -> Any:
    """A backend whose arrays scikit-learn lets through."""
    if request.param.startswith("strict") and sklearn.__version__.startswith("1.6."):
        pytest.skip("scikit-learn 1.6 holds array-api-strict to a standard older than ours")
    at = open_or_skip(request.param)
    with at.scope(), sklearn.config_context(array_api_dispatch=True):
        yield at


def test_arrays_stay_what_they_are(rows, elsewhere):
    x, y = elsewhere.asarray(rows[0]), elsewhere.asarray(rows[1])
    model = MLPClassifier(8, max_iter=5).fit(x, y)
    assert model.weights_sha256_ == MLPClassifier(8, max_iter=5).fit(*rows).weights_sha256_
    for found in (model.predict(x), model.predict_proba(x), model.predict_log_proba(x)):
        assert elsewhere.owns(found)
        assert backendmlp.backend.device_of(found) == backendmlp.backend.device_of(x)
    real = MLPRegressor(8, max_iter=5).fit(x, x[:, :2])
    assert elsewhere.owns(real.predict(x))
    assert isinstance(model.coefs_[0], np.ndarray)


def test_texts_come_back_as_numpy_has_them(rows, elsewhere):
    x, y = elsewhere.asarray(rows[0]), np.array(["a", "b", "c"])[rows[1]]
    model = MLPClassifier(8, max_iter=5).fit(x, y)
    assert isinstance(model.predict(x), np.ndarray)
    assert elsewhere.owns(model.predict_proba(x))


def test_another_library_than_it_was_fitted_on(rows, elsewhere):
    x, y = elsewhere.asarray(rows[0]), elsewhere.asarray(rows[1])
    model = MLPClassifier(8, max_iter=5).fit(x, y)
    expected = backendmlp.backend.to_numpy(model.predict_proba(x))
    with pytest.raises(ValueError, match=r"must use the same namespace .*call move_to\(X\) first"):
        model.predict_proba(rows[0])
    found = model.move_to(rows[0]).predict_proba(rows[0])
    assert isinstance(found, np.ndarray)
    assert found.tolist() == expected.tolist()  # bitwise
    with pytest.raises(ValueError, match="must use the same namespace"):
        model.predict(x)


def test_without_dispatch_arrays_are_taken_over_as_numpy_has_them(rows):
    at = open_or_skip("torch")
    x, y = at.asarray(rows[0]), at.asarray(rows[1])
    model = MLPClassifier(8, max_iter=5).fit(x, y)
    assert isinstance(model.predict(x), np.ndarray)
    assert model.predict(rows[0]).tolist() == model.predict(x).tolist()


@pytest.mark.parametrize("place", ["torch", "jax"])
def test_a_backend_works_on_numpys_arrays(rows, place):
    open_or_skip(place)
    model = MLPClassifier(8, max_iter=5, backend=PLACES[place][0]).fit(*rows)
    assert model.weights_sha256_ == MLPClassifier(8, max_iter=5).fit(*rows).weights_sha256_
    assert isinstance(model.predict(rows[0]), np.ndarray)


# -- going on, ending and telling ------------------------------------------------------------------


def test_a_warm_start_goes_on(rows):
    whole = MLPClassifier(8, max_iter=6).fit(*rows)
    half = MLPClassifier(8, max_iter=3, warm_start=True).fit(*rows).fit(*rows)
    assert half.weights_sha256_ == whole.weights_sha256_
    assert half.n_iter_ == 6
    assert half.loss_curve_ == whole.loss_curve_
    with pytest.raises(InputError, match="the classes are"):
        half.fit(rows[0], rows[1] + 1)
    half.set_params(solver="sgd").fit(*rows)  # another solver begins anew, from these weights
    assert half.n_iter_ == 9


def test_partial_fits(rows):
    x, y = rows
    model = MLPClassifier(8, batch_size=30)
    with pytest.raises(InputError, match="classes must be passed on the first call"):
        model.partial_fit(x, y)
    for start in range(0, 120, 30):
        model.partial_fit(x[start : start + 30], y[start : start + 30], classes=[0, 1, 2])
    one = MLPClassifier(8, batch_size=30, max_iter=1, shuffle=False).fit(x, y)
    np.testing.assert_allclose(model.coefs_[0], one.coefs_[0], atol=1e-4)  # settled by a part
    assert model.n_iter_ == len(model.loss_curve_) == 4
    with pytest.raises(InputError, match="none of the classes"):
        model.partial_fit(x, y + 5)
    with pytest.raises(InputError, match="early_stopping is True"):
        MLPClassifier(early_stopping=True).partial_fit(x, y, classes=[0, 1, 2])


@pytest.mark.filterwarnings("error")
def test_it_says_where_epochs_ran_out(rows):
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(2\) reached"):
        MLPClassifier(8, max_iter=2).fit(*rows)
    MLPClassifier(8, max_iter=200, tol=0.5, n_iter_no_change=1).fit(*rows)  # ends by itself
    MLPClassifier(8, max_iter=2, n_iter_no_change=np.inf).fit(*rows)  # never was to


def test_curves_of_training_and_validation(rows):
    model = MLPClassifier(8, max_iter=5, early_stopping=True).fit(*rows)
    assert len(model.loss_curve_) == len(model.validation_loss_curve_) == 5
    assert max(model.validation_scores_) == model.best_validation_score_
    assert model.best_loss_ is None
    given = MLPClassifier(8, max_iter=5).fit(*rows, X_val=rows[0][:9], y_val=rows[1][:9])
    assert len(given.validation_loss_curve_) == 5
    none = MLPClassifier(8, max_iter=5).fit(*rows)
    assert none.validation_loss_curve_ is none.validation_scores_ is None
    assert given.weights_sha256_ == none.weights_sha256_
    assert none.best_loss_ == min(none.loss_curve_)


def test_callbacks_see_the_estimator_and_may_end_it(rows):
    seen = []

    def two(model: Any, record: Any) -> bool:
        seen.append((model.n_iter_, model.coefs_[0].shape, record.epoch))
        return record.epoch == 2

    model = MLPClassifier(8, callbacks=[two]).fit(*rows)
    assert seen == [(1, (6, 8), 1), (2, (6, 8), 2)]
    assert model.n_iter_ == 2


def test_it_prints_as_scikit_learn_does(rows, capsys):
    model = MLPClassifier(8, max_iter=1, verbose=True, early_stopping=True).fit(*rows)
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"Iteration 1, loss = {model.loss_:.8f}"
    assert second == f"Validation score: {model.best_validation_score_:f}"


def test_seeds(rows):
    def sha(state: Any) -> str:
        return MLPClassifier(8, max_iter=1, random_state=state).fit(*rows).weights_sha256_

    assert sha(3) == sha(3) != sha(4)
    assert sha(np.random.RandomState(0)) == sha(np.random.RandomState(0)) != sha(3)
    drawn = MLPClassifier(8, max_iter=1, random_state=None).fit(*rows)
    assert sha(drawn.seed_) == drawn.weights_sha256_


def test_whole_numbers_stand_for_themselves(rows):
    x = np.round(np.abs(rows[0]) * 3).astype(np.uint8)
    one, two = (
        MLPClassifier(8, max_iter=2).fit(x.astype(t), rows[1]) for t in ("uint8", "float64")
    )
    assert one.weights_sha256_ == two.weights_sha256_


@pytest.mark.parametrize(
    ("choices", "text"),
    [
        ({"solver": "lbfgs"}, "solver is 'lbfgs'; give 'adam', 'sgd', or 'adamw'"),
        ({"learning_rate": "invscaling"}, "learning_rate is 'invscaling'; give one of 'constant'"),
        ({"learning_rate_init": -1}, "learning_rate_init is -1; give a finite number above zero"),
        ({"alpha": "x"}, "alpha is 'x'; give"),
        ({"max_iter": 0}, "max_iter is 0; give a whole number"),
        (
            {"hidden_layer_sizes": (3, 0)},
            r"hidden_layer_sizes is \(3, 0\), with 0 in layer 2; give",
        ),
        ({"random_state": -1}, "random_state is -1; give"),
        ({"validation_fraction": 2, "early_stopping": True}, "validation_fraction is 2; give"),
        ({"n_iter_no_change": 0}, "n_iter_no_change is 0; give"),
        ({"class_weight": {9: 1.0}}, "class_weight has 9, which is none of the classes"),
        ({"backend": "abacus"}, "backend 'abacus' is unknown"),
    ],
)
def test_mistakes_are_told_by_the_names_they_were_made_with(rows, choices, text):
    with pytest.raises(InputError, match=f"^{text}"):
        MLPClassifier(**choices).fit(*rows)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_validation_data_come_in_pairs(rows, kind):
    for given, missing in (("X_val", "y_val"), ("y_val", "X_val")):
        half = {given: rows[given == "y_val"]}
        with pytest.raises(InputError, match=f"^{given} is given without {missing}; give both"):
            kind().fit(*rows, **half)


@pytest.mark.parametrize(
    ("callbacks", "text"),
    [(3, "is int"), (print, "is a function"), ([3], "is list"), ("f", "is str")],
)
def test_callbacks_that_are_none_are_refused(rows, callbacks, text):
    with pytest.raises(InputError, match=rf"^callbacks {text}; give a list of functions"):
        MLPClassifier(callbacks=callbacks).fit(*rows)


@pytest.mark.parametrize("fit", ["fit", "partial_fit"])
def test_a_warm_start_of_another_network_speaks_of_the_parameter(rows, fit):
    model = MLPClassifier((8,), max_iter=1, warm_start=True).fit(*rows)
    model.set_params(hidden_layer_sizes=(9, 4))
    with pytest.raises(
        InputError, match=r"^hidden_layer_sizes is \(9, 4\), and the network .* \(8,"
    ):
        getattr(model, fit)(*rows)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_texts_are_told_by_their_column(rows, kind):
    pandas = import_or_skip("pandas")
    table = pandas.DataFrame(rows[0])
    for value, text in (
        ("Rome", "text in column 'city', as 'Rome'; leave it out"),
        (pandas.Categorical(["Rome"] * len(table)), "text in column 'city', as 'Rome'"),
        (pandas.Timestamp("2020-02-03"), "dates or times in column 'city', as 2020-02-03"),
    ):
        with pytest.raises(InputError, match=f"^X holds {text}"):
            kind().fit(table.assign(city=value).rename(columns=str), rows[1])
    model = kind(max_iter=1).fit(*rows)
    with pytest.raises(InputError, match=r"^X holds text, as 'red'; leave it out"):
        model.predict(np.full(rows[0].shape, "red"))


def test_text_targets_of_a_regression_lead_to_the_classifier(rows):
    names = np.where(rows[1] > 0, "yes", "no")
    for y in (names, names.astype(object)):
        with pytest.raises(InputError, match=r"^y holds text, as '(yes|no)'; .* MLPClassifier"):
            MLPRegressor().fit(rows[0], y)


def test_the_bits_of_weighted_rows_are_those_of_the_rows_that_docs_estimators_names(rows):
    x, y = rows
    weight = np.arange(len(x)) % 2 + (np.arange(len(x)) % 3 == 0)
    model = MLPClassifier(max_iter=3, batch_size=300).fit(x, y, sample_weight=weight)
    repeated = MLPClassifier(max_iter=3, batch_size=300)
    repeated.fit(x.repeat(weight, axis=0), y.repeat(weight))
    assert model.weights_sha256_ == repeated.weights_sha256_ == digest(repeated.mlp_.parameters)


@pytest.mark.parametrize("fit", ["fit", "partial_fit"])
def test_rows_that_all_count_nothing_are_refused(rows, fit):
    model = MLPClassifier(max_iter=1).fit(*rows)
    before = model.weights_sha256_
    with pytest.raises(
        InputError, match=r"^the sample weights are all zero, so that no row counts"
    ):
        getattr(model, fit)(*rows, sample_weight=np.zeros(len(rows[0])))
    if fit == "partial_fit":
        assert model.weights_sha256_ == before


def test_a_missing_name_in_a_table_is_refused_in_a_sentence(rows):
    pandas = pytest.importorskip("pandas")
    named = pandas.Series(["a", pandas.NA, "b"], dtype="string")
    with pytest.raises(InputError, match=r"^y holds <NA>; give labels, none of them missing$"):
        MLPClassifier().fit(rows[0][:3], named)


def test_labels_that_cannot_be_told_from_y_are_refused(rows):
    x, mixed = rows[0][:4], np.array(["a", None] * 2, object)
    with pytest.raises(InputError, match=r"^y holds labels of several kinds: NoneType, str; give"):
        MLPClassifier().fit(x, mixed)
    with pytest.raises(InputError, match=r"^class_weight has '0', .* classes 0, 1, 2; give labels"):
        MLPClassifier(class_weight={"0": 2.0}).fit(*rows)


def _refused_refits(x, y):
    names, other = np.array(["cat", "dog", "owl"])[y], np.full((3, x.shape[1]), np.nan)
    return {
        "a choice": (lambda c: c.set_params(alpha=-1.0).fit(x, names)),
        "validation data": (lambda c: c.fit(x, names, X_val=other, y_val=names[:3])),
        "weights": (lambda c: c.fit(x, names, sample_weight=-np.ones(len(x)))),
        "fewer features": (lambda c: c.set_params(warm_start=True).fit(x[:, :-1], y)),
        "weights of a part": (lambda c: c.partial_fit(x, y, sample_weight=-np.ones(len(x)))),
    }


@pytest.mark.parametrize("what", _refused_refits(np.zeros((1, 1)), np.zeros(1, int)))
def test_a_fit_that_is_refused_leaves_what_was_fitted(rows, what):
    x, y = rows[0], rows[1]
    fitted = MLPClassifier(hidden_layer_sizes=(4,), max_iter=3, tol=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted.fit(x, y)
    before, shown = dict(vars(fitted)), fitted.predict_proba(x)
    with pytest.raises(ValueError, match=r"\w"):
        _refused_refits(x, y)[what](fitted)
    choices = fitted.get_params()
    assert {k: v for k, v in vars(fitted).items() if k not in choices} == {
        k: v for k, v in before.items() if k not in choices
    }
    np.testing.assert_array_equal(fitted.predict_proba(x), shown)
    assert fitted.classes_.tolist() == np.unique(y).tolist()


def test_a_first_partial_fit_that_is_refused_was_none(rows):
    x, y = rows[0], rows[1]
    fresh = MLPClassifier(hidden_layer_sizes=(4,))
    with pytest.raises(InputError):
        fresh.partial_fit(x, y, classes=np.unique(y), sample_weight=-np.ones(len(x)))
    with pytest.raises(InputError, match="classes must be passed on the first call"):
        fresh.partial_fit(x, y)
    fresh.partial_fit(x, y, classes=np.unique(y)).predict(x)


def test_an_early_end_may_watch_data_of_ones_own():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 4))
    y = np.where(x[:, 0] > 0, "yes", "no")
    choices = {"early_stopping": True, "max_iter": 60, "n_iter_no_change": 2, "tol": 0.5}
    found = MLPClassifier(5, **choices).fit(x[:90], y[:90], X_val=x[90:], y_val=y[90:])
    assert found.n_iter_ < 60
    assert len(found.validation_scores_) == found.n_iter_
    same = MLP(
        hidden=5, optimizer="adam", lr=0.001, epochs=found.n_iter_, batch_size=90, l2=0.0001
    ).fit(x[:90], np.unique(y[:90], return_inverse=True)[1])
    assert found.mlp_.config.validation_split == 0.0
    assert len(same.history) == found.n_iter_  # all rows are trained on
    assert same.history[0].weights_sha256 == found.mlp_.history[0].weights_sha256


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"validation_fraction": 2}, "validation_fraction is 2; give a number from 0"),
        ({"momentum": 2}, "momentum is 2; give a number from 0"),
        ({"batch_size": "all"}, "batch_size is 'all'; give a whole number, or 'auto'"),
        ({"random_state": 1.5}, "random_state is 1.5; give a whole number, None"),
    ],
)
def test_choices_that_make_no_sense_are_told(choices, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        MLPClassifier(3, max_iter=1, **choices).fit([[0.0], [1.0]], [0, 1])

"""Models as ONNX, run in onnxruntime on whole test sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import import_or_skip

import backendmlp
from backendmlp import MLP, InputError, export_onnx

onnx = import_or_skip("onnx")
onnxruntime = import_or_skip("onnxruntime")

WITHIN = 1e-6  # of a probability


def run(path: Path, x: np.ndarray) -> list[np.ndarray]:
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    found = session.run(None, {entry.name: x})
    for shown, value in zip(session.get_outputs(), found, strict=True):
        assert shown.shape[0] == "rows"
        assert len(shown.shape) == value.ndim
    assert len(session.run(None, {entry.name: x[:1]})[0]) == 1  # any number of rows
    return found


@pytest.fixture(scope="module")
def features() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    x = random.normal(size=(500, 6))
    return x, (x @ random.normal(size=(6, 3))).argmax(axis=1)


def within(numerics: str) -> float:
    """Of native float32 it is the model's own predictions that are rounded; the graph is not."""
    return 1e-12 if numerics == "bitwise" else WITHIN


@pytest.mark.parametrize("numerics", ["bitwise", "native"])
def test_images_of_a_whole_test_set(sample, tmp_path, numerics):
    mlp = MLP(50, epochs=1, numerics=numerics)
    mlp.fit(sample.train_images, sample.train_labels, class_names=sample.class_names)
    export_onnx(mlp, tmp_path / "a.onnx")
    classes, probabilities = run(tmp_path / "a.onnx", sample.test_images)
    names = np.array(mlp.class_names)[mlp.predict(sample.test_images)]
    assert classes.tolist() == names.tolist()
    expected = mlp.predict_proba(sample.test_images)
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=within(numerics))
    assert probabilities.dtype == expected.dtype


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
@pytest.mark.parametrize("numerics", ["bitwise", "native"])
def test_features(features, tmp_path, numerics, activation):
    mlp = MLP((9, 7), epochs=3, numerics=numerics, activation=activation).fit(*features)
    export_onnx(mlp, tmp_path / "a.onnx")
    x = features[0].astype(mlp.config.dtype or "float64") * 4  # some are clipped
    with pytest.warns(backendmlp.DataWarning) if (numerics == "bitwise") else nothing():
        x[0] *= 10
        expected, numbers = mlp.predict_proba(x), mlp.predict(x)
    classes, probabilities = run(tmp_path / "a.onnx", x)
    assert classes.tolist() == numbers.tolist()
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=within(numerics))


@pytest.mark.parametrize("hidden", [8, (300, 70, 3)])
def test_wide_and_deep_ones_with_large_weights(features, tmp_path, hidden):
    """Logits of hundreds, where what bitwise numerics round away is seen in a probability."""
    x, y = features
    for numerics in ("bitwise", "native"):
        mlp = MLP(hidden, epochs=1, numerics=numerics, dtype=dtype_of(numerics)).fit(x, y)
        parameters = {name: 4.0 * value for name, value in mlp.parameters.items()}
        mlp = MLP(hidden, epochs=1, numerics=numerics, dtype=dtype_of(numerics), lr=1e-9)
        mlp.fit(x, y, parameters=parameters)
        export_onnx(mlp, tmp_path / "a.onnx")
        _, probabilities = run(tmp_path / "a.onnx", x)
        np.testing.assert_allclose(probabilities, mlp.predict_proba(x), rtol=0, atol=1e-11)


@pytest.mark.filterwarnings("ignore::backendmlp.DataWarning")
@pytest.mark.parametrize("activation", ["relu", "identity"])
def test_floats_for_a_model_of_pixels_are_rounded_as_it_rounds_them(tmp_path, activation):
    """Each row on a grid of its own, so that what is small beside another value vanishes."""
    random = np.random.default_rng(2)
    pixels, y = random.integers(0, 256, (60, 6), np.uint8), random.normal(size=(60, 2))
    mlp = MLP((5, 4), epochs=2, loss="squared_error", activation=activation).fit(pixels, y)
    export_onnx(mlp, tmp_path / "a.onnx", inputs="float")
    x = random.normal(size=(40, 6)) * 10.0 ** random.uniform(-6, 6, (40, 6))
    x[0], x[1], x[2] = 0.0, 2.0**440, 2.0**451  # large, and beyond the range
    (found,) = run(tmp_path / "a.onnx", x)
    np.testing.assert_array_equal(found, mlp.predict(x))
    assert np.isnan(found[2]).all()
    assert not np.isnan(np.delete(found, 2, 0)).any()


@pytest.mark.filterwarnings("ignore::backendmlp.DataWarning")
def test_a_row_without_a_most_probable_class_has_the_last(tmp_path):
    random = np.random.default_rng(3)
    pixels, y = random.integers(0, 256, (60, 6), np.uint8), np.arange(60) % 3
    mlp = MLP(5, epochs=1).fit(pixels, y)
    export_onnx(mlp, tmp_path / "a.onnx", inputs="float")
    x = np.vstack([np.full((1, 6), 1e200), random.normal(size=(20, 6)), np.full((1, 6), 1e200)])
    classes, probabilities = run(tmp_path / "a.onnx", x)
    assert classes.tolist() == mlp.predict(x).tolist()
    assert classes[0] == classes[-1] == 2
    assert np.isnan(probabilities).all(axis=1).tolist() == [True, *[False] * 20, True]


def dtype_of(numerics: str) -> str | None:
    return "float64" if numerics == "native" else None


@pytest.mark.parametrize("numerics", ["bitwise", "native"])
def test_in_float32_if_it_is_asked_for(sample, tmp_path, numerics):
    mlp = MLP(50, epochs=1, numerics=numerics)
    mlp.fit(sample.train_images[:2000], sample.train_labels[:2000])
    export_onnx(mlp, tmp_path / "a.onnx", dtype="float32")
    _, probabilities = run(tmp_path / "a.onnx", sample.test_images)
    assert probabilities.dtype == np.float32
    expected = mlp.predict_proba(sample.test_images)
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-5)


def test_a_file_is_as_small_as_its_weights_allow(sample, tmp_path):
    """Four bytes a weight, and eight where one layer's need them."""
    sizes = {}
    for numerics in ("bitwise", "native"):
        mlp = MLP((100, 100), epochs=1, numerics=numerics)
        mlp.fit(sample.train_images[:500], sample.train_labels[:500])
        export_onnx(mlp, tmp_path / "a.onnx")
        sizes[numerics] = (tmp_path / "a.onnx").stat().st_size
    later = 4 * (100 * 100 + 100 * 10)
    assert 4 * 784 * 100 + later < sizes["native"] < 4 * 784 * 100 + later + 10_000
    assert 8 * 784 * 100 + later < sizes["bitwise"] < 8 * 784 * 100 + later + 10_000


def nothing() -> Any:
    from contextlib import nullcontext

    return nullcontext()


@pytest.mark.parametrize("outputs", [None, 1, 2])
def test_a_regression(features, tmp_path, outputs):
    x = features[0]
    y = np.sin(x[:, 0] if outputs is None else x[:, :outputs])
    mlp = MLP(9, epochs=3, loss="squared_error").fit(x, y)
    export_onnx(mlp, tmp_path / "a.onnx")
    (found,) = run(tmp_path / "a.onnx", x)
    assert found.shape == y.shape
    np.testing.assert_allclose(found, mlp.predict(x), rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:.*converge")
@pytest.mark.parametrize(
    "labels", [[-1, 0, 7], ["a", "é", "c"], [0.0, 1.0, 3.0]], ids=["integers", "texts", "floats"]
)
def test_an_estimator_has_the_labels_it_was_given(features, tmp_path, labels):
    import_or_skip("sklearn")
    x, y = features[0], np.array(labels)[features[1]]
    model = backendmlp.MLPClassifier((9,), max_iter=3).fit(x, y)
    export_onnx(model, tmp_path / "a.onnx")
    classes, probabilities = run(tmp_path / "a.onnx", x)
    assert classes.tolist() == model.predict(x).tolist()
    np.testing.assert_allclose(probabilities, model.predict_proba(x), rtol=0, atol=1e-12)


def test_the_same_model_gives_the_same_bytes(features, tmp_path):
    for name in ("a", "b"):
        export_onnx(MLP(9, epochs=1).fit(*features), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_estimators_that_cannot_be_exported(tmp_path):
    import_or_skip("sklearn")
    from sklearn.pipeline import make_pipeline

    with pytest.raises(InputError, match="the MLPClassifier is not fitted yet; call fit first"):
        export_onnx(backendmlp.MLPClassifier(), tmp_path / "a")
    with pytest.raises(InputError, match="give its last step alone, as pipeline"):
        export_onnx(make_pipeline(backendmlp.MLPClassifier()), tmp_path / "a")


def test_what_cannot_be_is_told(features, tmp_path):
    mlp = MLP(9, epochs=1)
    with pytest.raises(InputError, match="no weights yet"):
        export_onnx(mlp, tmp_path / "a")
    mlp.fit(*features)
    with pytest.raises(InputError, match="dtype is 'float16'; give 'float32' or 'float64'"):
        export_onnx(mlp, tmp_path / "a", dtype="float16")
    with pytest.raises(InputError, match="takes no pixels"):
        export_onnx(mlp, tmp_path / "a", inputs="uint8")
    with pytest.raises(InputError, match="of type int; give an MLP"):
        export_onnx(3, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_on_the_command_line(sample, tmp_path):
    from commandline import call

    mlp = MLP(9, epochs=1).fit(sample.train_images[:500], sample.train_labels[:500])
    mlp.save(tmp_path / "model.safetensors")
    result = call("export", tmp_path, "--to", "onnx")
    assert (result.code, result.err) == (0, "")
    classes, _ = run(tmp_path / "model.onnx", sample.test_images)
    assert classes.tolist() == mlp.predict(sample.test_images).tolist()
    assert "model.onnx" in result.out

"""Data as people have them, and models as they keep them: copies, files, other machines."""

from __future__ import annotations

import copy
import inspect
import io
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import commandline as cl
import numpy as np
import pytest
from conftest import open_or_skip
from test_api import FLOATS, IMAGES, LABELS, fitted, refused

import backendmlp
from backendmlp import MLP, DataWarning, InputError
from backendmlp.runs.modelfile import load_model, save_model

TESTS = Path(__file__).resolve().parent
NAMES = np.array(["pear", "apple", "fig"])
INTS = IMAGES.astype(np.int64)


def small(**options) -> MLP:
    return MLP(8, epochs=2, batch_size=7, **options)


def digest(mlp: MLP) -> str:
    return mlp.history[-1].weights_sha256


@pytest.mark.parametrize("numerics", ["bitwise", "native"])
@pytest.mark.parametrize("shape", [(20,), (1, 4, 5), (4, 5, 1), (2, 2, 5), (1,) * 40 + (20,)])
@pytest.mark.parametrize("kind", ["pixels", "floats"])
def test_whatever_was_trained_is_kept(kind, shape, numerics, tmp_path):
    images = (IMAGES if kind == "pixels" else FLOATS - 0.5).reshape(30, *shape)
    mlp = small(numerics=numerics).fit(images, LABELS)
    mlp.save(tmp_path / "model")
    loaded = MLP.load(tmp_path / "model")
    assert loaded.image_shape == shape
    assert loaded.predict_proba(images).tobytes() == mlp.predict_proba(images).tobytes()
    assert (loaded.unit is None) == (kind == "pixels" or numerics == "native")
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "model").read_bytes()


def test_files_of_another_definition(tmp_path):
    mlp = small().fit(FLOATS, LABELS)
    mlp.save(tmp_path / "model")
    parameters, metadata = load_model(tmp_path / "model")
    assert metadata["definition"] == 2
    save_model(tmp_path / "other", parameters, {**metadata, "definition": 3})
    sentence = refused(MLP.load, tmp_path / "other")
    assert "made under definition 3; this version computes definition 2" in sentence
    del metadata["definition"]  # and so the first
    save_model(tmp_path / "first", parameters, metadata)
    assert "made under definition 1;" in refused(MLP.load, tmp_path / "first")
    metadata["config"]["numerics"] = "native"
    save_model(tmp_path / "native", parameters, metadata)
    assert "has a unit" in refused(MLP.load, tmp_path / "native")


@pytest.mark.parametrize(
    ("shape", "fit"), [((28, 28), True), ((1, 28, 28), True), ((28, 28, 1), True), ((784,), False)]
)
def test_picture_files_are_for_models_of_pictures(shape, fit, sample, tmp_path):
    images = sample.train_images[:50].reshape(50, *shape)
    MLP(4, epochs=1).fit(images, sample.train_labels[:50]).save(tmp_path / "model")
    data = cl.write_data(tmp_path / "data", 20, 10)
    result = cl.call("predict", tmp_path / "model", data / "t10k-images-idx3-ubyte")
    assert result.code == (0 if fit else 2)
    if not fit:
        assert result.err.count("\n") == 1
        assert "(784,), which picture files cannot give" in result.err


def test_names_of_classes_are_kept(tmp_path):
    mlp = small().fit(IMAGES, LABELS, class_names=["T-shirt/top", "Bag", "Größe"])
    assert mlp.class_names == ("T-shirt/top", "Bag", "Größe")
    assert digest(mlp) == digest(fitted())
    mlp.save(tmp_path / "model")
    assert MLP.load(tmp_path / "model").class_names == mlp.class_names


def test_names_say_how_many_classes_there_are():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mlp = small().fit(IMAGES, LABELS % 2, class_names=["a", "b", "c"])
    assert mlp.predict_proba(IMAGES).shape == (30, 3)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a", "b"], "a training label is 2"),
        (["a", "b", "a"], "two classes are called 'a'"),
        (["a", "b", " "], "called ' '"),
        (["a", "b", "\x1b[2J"], r"called '\x1b[2J'"),
        (["a", "b", 3], "called 3"),
        ("abc", "class_names is 'abc'"),
        ([], "0 classes are named"),
        (["a"], "1 classes are named"),
    ],
)
def test_names_that_name_nothing(names, words):
    assert words in refused(small().fit, IMAGES, LABELS, class_names=names)


def test_labels_may_be_names():
    mlp = small().fit(IMAGES, NAMES[LABELS], test=(IMAGES, NAMES[LABELS].tolist()))
    assert mlp.class_names == ("apple", "fig", "pear")
    order = np.array([2, 0, 1])[LABELS]
    assert digest(mlp) == digest(small().fit(IMAGES, order))
    assert mlp.predict(IMAGES).dtype == np.int64
    assert mlp.score(IMAGES, NAMES[LABELS]) == mlp.score(IMAGES, order)
    assert mlp.loss(IMAGES, NAMES[LABELS].astype(object)) == mlp.loss(IMAGES, order)
    assert "'plum', which is none of the classes 'apple', 'fig', 'pear'" in refused(
        mlp.score, IMAGES, ["plum"] * 30
    )
    named = small().fit(IMAGES, NAMES[LABELS], class_names=["pear", "apple", "fig"])
    assert digest(named) == digest(fitted())
    assert "called ''" in refused(small().fit, IMAGES, [""] * 15 + ["a"] * 15)
    assert "labels are all 'a'" in refused(small().fit, IMAGES, ["a"] * 30)


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.uint64, np.int8, object, list])
def test_whole_labels_of_any_kind(kind, backend):
    labels = LABELS.tolist() if kind is list else LABELS.astype(kind)
    mlp = small().fit(backend.asarray(IMAGES), labels)
    assert digest(mlp) == digest(fitted())


def test_labels_of_a_device_may_be_floats_or_booleans(backend):
    images = backend.asarray(IMAGES)
    assert digest(small().fit(images, backend.asarray(LABELS, "float32"))) == digest(fitted())
    binary = small().fit(images, backend.asarray(LABELS == 0))
    assert digest(binary) == digest(small().fit(IMAGES, (LABELS == 0).tolist()))
    assert "a training label is nan" in refused(
        small().fit, images, backend.asarray(np.where(LABELS == 0, np.nan, 1.0))
    )


def test_tables():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(FLOATS, columns=[f"pixel {i}" for i in range(20)])
    plain = digest(small().fit(FLOATS, LABELS))
    column = pandas.Series(NAMES[LABELS])
    for labels in (pandas.Series(LABELS), pandas.Series(LABELS, dtype="Int64")):
        assert digest(small().fit(table, labels)) == plain
    assert digest(small().fit(table.astype("Float64"), LABELS)) == plain
    for names in (column, column.astype("category"), column.astype("string")):
        mlp = small().fit(table, names, class_names=NAMES.tolist(), test=(table, names))
        assert digest(mlp) == plain
    assert mlp.predict(table).shape == (30,)
    truths = table > 0.5
    assert digest(small().fit(truths, LABELS)) == digest(small().fit(truths * 1.0, LABELS))
    assert "(30,)" in refused(small().fit, table["pixel 0"], LABELS)
    assert "int64" in refused(small().fit, table.astype(int), LABELS)
    missing = table.astype("Float64")
    missing.iloc[0, 0] = pandas.NA
    assert "none of them missing" in refused(small().fit, missing, LABELS)
    assert digest(small().fit(table, pandas.DataFrame({"label": LABELS}))) == plain


def test_what_is_no_array_is_named():
    sparse = pytest.importorskip("scipy.sparse")
    torch = open_or_skip("torch") and pytest.importorskip("torch")
    matrix = sparse.csr_matrix(FLOATS)
    assert "a sparse csr_matrix; give inputs.toarray()" in refused(small().fit, matrix, LABELS)
    assert "inputs.to_dense()" in refused(
        small().fit, torch.asarray(FLOATS).to_sparse(), torch.asarray(LABELS)
    )
    loader = torch.utils.data.DataLoader(torch.asarray(FLOATS))
    assert "of type DataLoader" in refused(small().fit, loader, LABELS)
    assert "of type generator" in refused(small().fit, (row for row in FLOATS), LABELS)
    assert "of type dict" in refused(small().fit, {"images": FLOATS}, LABELS)
    assert "of type NoneType" in refused(small().fit, IMAGES, None)
    one_hot = np.eye(3)[LABELS]
    assert "labels.argmax(axis=1)" in refused(small().fit, IMAGES, one_hot)


@pytest.mark.parametrize("test", [(IMAGES,), (), (IMAGES, LABELS, LABELS), IMAGES, "ab", 3])
def test_test_is_a_pair(test):
    assert "give a pair: test=(images, labels)" in refused(small().fit, IMAGES, LABELS, test=test)


@pytest.mark.parametrize("images", [INTS, INTS.astype(np.int8), INTS.tolist()])
def test_integers_are_not_guessed_at(images):
    """Pixels or features? The sentence spells out both, and both work."""
    sentence = refused(small().fit, images, LABELS)
    word = "inputs" if isinstance(images, list) else "images"
    assert f'np.asarray({word}).astype("uint8")' in sentence
    assert f"np.asarray({word}) / 255" in sentence
    assert "int" in sentence
    assert f"from {np.min(images)} to {np.max(images)}" in sentence
    assert digest(small().fit(np.asarray(INTS).astype("uint8"), LABELS)) == digest(fitted())


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (IMAGES.astype(np.float32), LABELS, ("floats from 0 to 255", "images / 255")),
        (FLOATS * 4000, LABELS, ("too large", "inputs.std(axis=0)")),
        (FLOATS * 4000 - 2000, LABELS, ("too large", "inputs.mean(axis=0)")),
        (IMAGES // 16, LABELS, ("none exceeds 15", "images / 15")),
        (IMAGES // 128, LABELS, ("none exceeds 1:", "images / 1 ")),
        (IMAGES, LABELS + 1, ("start at 1", "4 outputs", "labels - 1")),
        (IMAGES, LABELS * 4500, ("3 different numbers", "8998 of 9001", "np.unique")),
    ],
)  # fmt: skip
def test_classic_mistakes_give_one_warning(images, labels, words):
    line = inspect.currentframe().f_lineno + 3
    with warnings.catch_warnings(record=True) as every:
        warnings.simplefilter("always")
        MLP(2, epochs=1, numerics="native").fit(images, labels)
    caught = [warning for warning in every if warning.category is DataWarning]
    assert len(caught) == 1
    assert (caught[0].filename, caught[0].lineno) == (__file__, line)
    for word in words:
        assert word in str(caught[0].message)


@pytest.mark.filterwarnings("error")
def test_ordinary_data_give_none(sample, backend):
    images, labels = sample.train_images[:500], sample.train_labels[:500]
    spread = images.reshape(500, -1) / 255.0
    standard = (spread - spread.mean(axis=0)) / np.maximum(spread.std(axis=0), 1e-3)
    for x in (images, spread, standard, images > 99):
        mlp = MLP(2, epochs=1).fit(backend.asarray(x), backend.asarray(labels, "int64"))
        mlp.predict(backend.asarray(x))


def test_mnist_as_features_gives_none():
    """A pixel that is lit once in 60,000 images is 245 standard deviations away."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2000, 30))
    images[:, :5] = 0
    images[7, :5] = 245.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MLP(2, epochs=1, numerics="native").fit(images, np.arange(2000) % 10)


def copies() -> dict[str, object]:
    def by_joblib(mlp):
        joblib = pytest.importorskip("joblib")
        file = io.BytesIO()
        joblib.dump(mlp, file)
        file.seek(0)
        return joblib.load(file)

    return {
        "pickle": lambda mlp: pickle.loads(pickle.dumps(mlp)),
        "deepcopy": copy.deepcopy,
        "copy": copy.copy,
        "joblib": by_joblib,
    }


@pytest.mark.parametrize("way", copies().values(), ids=copies())
@pytest.mark.parametrize("images", [IMAGES, FLOATS], ids=["pixels", "features"])
def test_a_copy_is_the_same_model(way, images):
    mlp = small(backend="array-api-strict").fit(images, LABELS)
    mlp.predict(images)
    twin = way(mlp)
    assert repr(twin) == repr(mlp)
    assert twin.history == mlp.history
    assert twin.backend.name == "array-api-strict"
    assert twin.predict_proba(images).tobytes() == mlp.predict_proba(images).tobytes()
    assert not any(value.flags.writeable for value in twin.parameters.values())
    before = digest(mlp)
    twin.fit(images, LABELS % 2)
    assert digest(mlp) == before
    assert repr(way(small())) == repr(small())


ON_A_GPU = """
import pickle, sys
import numpy as np
from backendmlp import MLP

images = np.arange(600, dtype=np.uint8).reshape(30, 20)
mlp = MLP(4, epochs=1, backend="cupy").fit(images, np.arange(30) % 3)
mlp.predict(images)
sys.stdout.buffer.write(pickle.dumps((mlp, images, mlp.predict_proba(images))))
"""


def test_a_model_of_a_gpu_where_there_is_none(monkeypatch):
    path = os.pathsep.join(map(str, (TESTS / "stand_in", TESTS.parent)))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ON_A_GPU],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr.decode()
    monkeypatch.setitem(sys.modules, "cupy", None)
    mlp, images, shares = pickle.loads(done.stdout)
    assert "backend='cupy'" in repr(mlp)
    assert mlp.parameters["W1"].shape == (20, 4)
    for call in (mlp.predict, lambda x: mlp.fit(x, np.arange(30) % 3)):
        sentence = refused(call, images)
        assert "the package 'cupy'" in sentence
        assert "mlp.to('numpy')" in sentence
    assert mlp.to("numpy").predict_proba(images).tobytes() == shares.tobytes()
    with pytest.raises(InputError, match="'paddle' is unknown"):
        mlp.to("paddle")
    assert mlp.backend.name == "numpy"


def test_what_a_model_shows_of_itself():
    mlp = MLP(8, epochs=2, lr=0.25, device="cpu")
    configured = (
        "MLP(hidden=8, epochs=2, batch_size=64, lr=0.25, seed=100, numerics='bitwise', "
        "backend='numpy', device='cpu')"
    )
    assert repr(mlp) == f"{configured}  # not fitted"
    assert repr(eval(repr(mlp))) == repr(mlp)  # it is code
    mlp.fit(IMAGES, LABELS, test=(IMAGES, LABELS))
    last = mlp.history[-1]
    assert repr(mlp) == (
        f"{configured}  # inputs (4, 5), 3 classes, epoch 2, train loss {last.train_loss:.4f}, "
        f"test accuracy {last.test_accuracy:.2%}, weights sha256 {last.weights_sha256[:12]}"
    )
    assert mlp.score(IMAGES, LABELS) == mlp.evaluate(IMAGES, LABELS).accuracy
    assert type(mlp.score(IMAGES, LABELS)) is float


def test_public_names_are_listed_before_they_are_used():
    code = "import backendmlp; print(*dir(backendmlp))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(backendmlp.__all__) <= set(done.stdout.split())


def test_parameters_that_change_are_seen():
    mlp = fitted()
    before = mlp.predict_proba(IMAGES)
    with pytest.raises(ValueError, match="read-only"):
        mlp.parameters["W1"][0, 0] = 1.0
    mlp.parameters["b2"] = mlp.parameters["b2"] + [3.0, 0.0, 0.0]
    changed = mlp.predict_proba(IMAGES)
    assert (changed[:, 0] > before[:, 0]).all()
    mlp.parameters["b2"][0] -= 3.0  # one's own array, which may be written to
    assert (mlp.predict_proba(IMAGES)[:, 0] < changed[:, 0]).all()
    other = MLP(8, epochs=2, batch_size=7, seed=1).fit(IMAGES, LABELS)
    mlp.parameters = other.parameters
    assert mlp.predict_proba(IMAGES).tobytes() == other.predict_proba(IMAGES).tobytes()


def test_the_sample_has_a_name(sample):
    named = backendmlp.load_named("fashion-mnist-sample")
    assert named.sha256 == sample.sha256

"""Slips of people who tried it, which lost something or were let pass."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import commandline as cl
import numpy as np
import pytest
from conftest import import_or_skip
from test_api import FLOATS, IMAGES, LABELS, refused

import backendmlp
from backendmlp import MLP, Config, InputError, load_file, load_sample, sweep, train_run
from backendmlp.data.origin import origin
from backendmlp.steps.compiled import library


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slips")
    data = cl.write_data(folder / "data")
    assert cl.train("--data", data, "--epochs", 1, "--out", folder / "run").code == 0
    return folder / "run"


def small(**choices) -> MLP:
    return MLP(4, **{"epochs": 1, "batch_size": 7, **choices})


@pytest.mark.parametrize("name", ["model.safetensors", "run.json"])
def test_an_export_does_not_take_the_place_of_other_files(run, name):
    import_or_skip("onnx")
    before = (run / name).read_bytes()
    result = cl.call("export", run, "--to", "onnx", "--out", run / name)
    assert result.code == 2
    assert "is there already, and its name is none of an earlier export" in result.err
    assert (run / name).read_bytes() == before
    for _ in range(2):
        assert cl.call("export", run, "--to", "onnx").code == 0


def test_inputs_of_another_width_are_told_of_by_their_file(run, tmp_path):
    np.savez(tmp_path / "five.npz", x=np.zeros((3, 5)))
    result = cl.call("predict", run, tmp_path / "five.npz")
    assert result.code == 2
    assert f"{tmp_path / 'five.npz'} has 5 values for each input, and the model" in result.err
    x, y = np.zeros((4, 5), np.uint8), np.array([0, 1, 0, 1])
    np.savez(tmp_path / "set.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    result = cl.call("evaluate", run, "--data", tmp_path / "set.npz")
    assert result.code == 2
    assert f"Error: x_test in {tmp_path / 'set.npz'} has 5 values" in result.err


def test_an_empty_archive_is_called_empty(tmp_path):
    (tmp_path / "a.npz").touch()
    result = cl.train("--data", tmp_path / "a.npz", "--out", tmp_path / "run")
    assert result.code == 2
    assert "it is empty" in result.err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
@pytest.mark.parametrize("how", ["a closed pipe", "a full disk"])
def test_a_run_that_cannot_tell_stops_and_can_go_on(tmp_path, how):
    data = cl.write_data(tmp_path / "data")
    run = tmp_path / "run"
    words = '"$@" >/dev/full' if how == "a full disk" else '"$@" | true; exit ${PIPESTATUS[0]}'
    options = ("train", "--data", data, "--epochs", 30, "--out", run)
    command = [sys.executable, "-m", "backendmlp", *map(str, options)]
    done = subprocess.run(
        ["bash", "-c", words, "sh", *command],
        env={**os.environ, "PYTHONPATH": str(cl.ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode in (1, 2), done.stderr
    MLP.load(run / "model.safetensors")
    assert 1 <= len(cl.receipt(run)["epochs"]) < 30
    assert cl.train("--resume", run, "--epochs", 30, "--quiet").code == 0
    assert len(cl.receipt(run)["epochs"]) == 30


@pytest.mark.slow
def test_a_terminated_sweep_says_how_to_go_on(tmp_path):
    import_or_skip("joblib")
    process = cl.start(
        *("sweep", "--out", tmp_path / "s", "--epochs", 300, "--seeds", 2, "--jobs", 1)
    )
    for _ in range(6000):
        if list((tmp_path / "s").glob("*/epochs/*")):
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    result = cl.end(process)
    assert result.code == 143
    assert "Interrupted; the same command goes on" in result.err


def test_a_table_whose_columns_have_changed_places():
    pandas = import_or_skip("pandas")
    table = pandas.DataFrame(FLOATS, columns=[f"c{i}" for i in range(FLOATS.shape[1])])
    turned = table[table.columns[::-1]]
    mlp = small(warm_start=True).fit(table, LABELS)
    said = "columns that the model learned from in another order: 'c19' stands where 'c0' stood"
    assert said in refused(mlp.predict, turned)
    assert said in refused(mlp.fit, turned, LABELS)
    assert said in refused(small().fit, table, LABELS, validation=(turned, LABELS))
    named_otherwise = turned.set_axis(range(20), axis=1)
    assert (mlp.predict(named_otherwise) == mlp.predict(turned.to_numpy())).all()
    assert (small().fit(turned, LABELS).predict(turned) >= 0).all()


@pytest.mark.parametrize("label", [0, 1, 7])
def test_labels_of_one_class_alone(label):
    said = refused(small().fit, IMAGES, np.full(len(IMAGES), label))
    assert f"are all {label}, one class alone" in said


@pytest.mark.parametrize("value", ["no", 1, None])
def test_what_is_neither_true_nor_false(value):
    assert f"warm_start is {value!r}; give True or False" in refused(MLP, warm_start=value)
    import_or_skip("sklearn")
    for name in ("warm_start", "shuffle", "early_stopping", "nesterovs_momentum"):
        one = backendmlp.MLPClassifier(**{name: value})
        assert f"{name} is {value!r}; give True or False" in refused(one.fit, FLOATS, LABELS)


def test_parameters_that_are_no_dictionary():
    assert "parameters is list; give a dictionary of W1, b1" in refused(MLP.of, [1])


def test_a_training_astray_by_a_penalty_names_it():
    said = refused(small(l2=1e300, epochs=3).fit, FLOATS, LABELS)
    assert "lower the learning rate (now 0.1) or l2 (now 1e+300)" in said


def test_a_run_shows_what_it_is(tmp_path):
    run = train_run(tmp_path / "run", load_sample(), Config(hidden=4, epochs=1))
    assert repr(run) == (
        f"<Run: 1 of 1 epochs in {str(tmp_path / 'run')!r}, weights sha256 "
        f"{run.weights_sha256[:12]}>"
    )


def test_weights_in_float32_are_taken_without_a_word():
    parameters = {"W1": np.ones((2, 3), np.float32), "b1": np.zeros(3, np.float32)}
    assert MLP.of(parameters).predict(np.ones((1, 2))).shape == (1,)


def test_an_empty_receipt_is_called_empty(tmp_path):
    (tmp_path / "run.json").touch()
    result = cl.call("verify", tmp_path)
    assert result.code == 2
    assert "is empty; use an undamaged file" in result.err


def test_a_folder_that_is_taken_for_a_file(tmp_path):
    assert "it is a folder; give it to load_folder" in refused(load_file, tmp_path)


@pytest.mark.parametrize("inputs", [np.uint8(1), 0.5])
def test_more_rows_than_any_memory_has(inputs):
    """A broadcast array has them all: their predictions would not fit."""
    rows = np.broadcast_to(inputs, (1 << 50, FLOATS.shape[1]))
    for trained_on in (FLOATS, IMAGES):
        mlp = small().fit(trained_on, LABELS)
        said = refused(mlp.predict_proba, rows[:, : mlp.parameters["W1"].shape[0]])
        assert "too little memory for so many images at once" in said


def test_paths_in_bytes(tmp_path):
    path = os.fsencode(tmp_path / "none.safetensors")
    assert f"{tmp_path / 'none.safetensors'}" in refused(MLP.load, path)


def test_texts_in_numpys_new_strings_are_no_features():
    texts = FLOATS.astype(str).astype(np.dtypes.StringDType())
    assert "hold text, as " in refused(small().fit, texts, LABELS)


def test_a_sweep_by_a_backend_of_joblib_that_hands_over_all_at_once(tmp_path):
    joblib = import_or_skip("joblib")
    with joblib.parallel_config("multiprocessing"):
        said = refused(sweep, tmp_path, {"lr": [0.1, 0.2]}, load_sample(), jobs=2, epochs=1)
    assert "choose 'loky', 'threading' or 'dask' there" in said


def test_an_estimator_takes_numpys_new_strings():
    import_or_skip("sklearn")
    names = np.array(["a", "b", "c"])[LABELS]
    known, other = (
        backendmlp.MLPClassifier(max_iter=2, tol=0.0, n_iter_no_change=2) for _ in range(2)
    )
    for one, texts in ((known, names), (other, names.astype(np.dtypes.StringDType()))):
        with pytest.warns(Warning, match="converged"):
            one.fit(FLOATS, texts)
    assert (known.predict(FLOATS) == other.predict(FLOATS)).all()
    assert known.weights_sha256_ == other.weights_sha256_


def test_interrupted_while_it_loads_it_says_so():
    script = """
import sys

class Interrupting:
    def find_spec(self, name, path, target=None):
        if name == "click":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupting())
from backendmlp.__main__ import main
main([])
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (found.returncode, found.stdout, found.stderr) == (130, "", "Interrupted.\n")


def test_a_rate_that_is_to_fall_and_never_does():
    with pytest.warns(UserWarning, match="falls after every 10 epochs and the training has 1,"):
        small(schedule="step").fit(IMAGES, LABELS)


def test_names_of_data_sets_in_other_spellings():
    assert origin(None, "Fashion_MNIST") == origin(None, "fashion-mnist")
    with pytest.raises(InputError, match="did you mean 'mnist', of"):
        origin(None, "minst").open()


def test_the_place_of_a_run_is_named_as_it_is_asked_for(run):
    assert "choose another out=, or go on with that one by resume_run" in refused(train_run, run)
    result = cl.train("--out", run)
    assert result.code == 2
    assert "choose another --out, or go on with that one by --resume" in result.err
    assert "--data and --dataset are both" in cl.train("--data", run, "--dataset", "mnist").err


def test_whatever_the_environment_says_of_compiled_code_counts(monkeypatch):
    library.library.cache_clear()
    monkeypatch.setenv("BACKENDMLP_COMPILED", "no")
    try:
        with pytest.raises(InputError, match="BACKENDMLP_COMPILED is 'no'; set it to 0"):
            library.library()
    finally:
        library.library.cache_clear()


def test_a_weight_of_a_class_is_named():
    assert "class_weight of class 1 is -1" in refused(Config, class_weight=(1, -1))


def test_a_model_of_no_whole_epoch_is_told(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    small().fit(IMAGES, LABELS).save(tmp_path / "run" / "other.safetensors")
    out = cl.call("info", tmp_path / "run" / "other.safetensors").out
    assert "after epoch    none of those in run.json: a run stopped within one, perhaps" in out
    assert "after epoch    1 of 1" in cl.call("info", tmp_path / "run" / "model.safetensors").out

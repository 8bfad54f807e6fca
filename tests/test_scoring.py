"""Prediction by compiled code: the definition's, however many rows, threads and pieces."""

from __future__ import annotations

import copy
import itertools
import os
import signal
import threading

import exact
import numpy as np
import pytest
import threadpoolctl
from conftest import forking
from tolerances import assert_close

import backendmlp
from backendmlp import MLP, findings
from backendmlp.commands import printing
from backendmlp.network import evaluation, model
from backendmlp.network.losses import classes
from backendmlp.steps.compiled import scoring
from backendmlp.steps.scoring import Scorer

NUMPY = backendmlp.select("numpy")
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (5000, 40), dtype=np.uint8)
LABELS = RNG.integers(0, 3, 5000)


@pytest.fixture(autouse=True)
def compiled(steps, monkeypatch):
    monkeypatch.setattr(scoring, "_WORTH_A_THREAD", 100_000)  # all threads, for few images
    return steps


@pytest.mark.parametrize("count", [1, 2, 257, 2048, 2049, 5000])
@pytest.mark.parametrize(("numerics", "kind"), [
    ("bitwise", "pixels"), ("native", "pixels"), ("native", "floats"), ("bitwise", "strided")
])  # fmt: skip
def test_what_is_shown_is_what_the_definition_says(numerics, kind, count):
    images = {"pixels": PIXELS, "floats": (PIXELS / 255).astype(np.float32)}.get(kind, PIXELS)
    mlp = MLP(30, epochs=1, numerics=numerics).fit(images[:300], LABELS[:300])
    recipe = mlp.config.recipe()
    p = model.settle(recipe.arithmetic, mlp.parameters)
    scorer = Scorer(NUMPY, recipe, mlp.parameters)
    shown = images[:count][::-1] if kind == "strided" else images[:count]
    expected = evaluation.score(recipe, p, shown, LABELS[:count])
    found = scorer.score(shown, LABELS[:count])
    both = zip((*found.parts, found.outputs), (*expected.parts, expected.outputs), strict=True)
    for one, two in both:
        if numerics == "bitwise":
            assert exact.bits(one) == exact.bits(two)
        else:
            assert_close(one, two, "float32", "run")
    assert scorer.outputs(shown).tobytes() == found.outputs.tobytes()
    labels = classes(found.outputs)
    np.testing.assert_array_equal(scorer.classes(shown), labels)
    assert scorer.classes(shown).dtype == np.int64


@pytest.mark.filterwarnings("ignore::backendmlp.DataWarning")
@pytest.mark.filterwarnings("ignore:(invalid|overflow):RuntimeWarning")
@pytest.mark.parametrize("numerics", ["bitwise", "native"])
def test_a_row_of_nan_has_the_last_class_everywhere(numerics, backend, capsys):
    """Without a most probable class: each library's argmax has a place of its own for a NaN."""
    mlp = MLP(4, epochs=1, numerics=numerics, dtype="float64").fit(PIXELS[:300], LABELS[:300])
    mlp.parameters = {k: v * 2.0**20 for k, v in mlp.parameters.items()}
    mlp.to(backend.name)
    rows = np.vstack([np.full((2, 40), 1e307), PIXELS[:2] / 255])
    shares = mlp.predict_proba(rows)
    assert np.isnan(shares[:2]).all()
    assert not np.isnan(shares[2:]).any()
    expected = [2, 2, *np.argmax(shares[2:], axis=1)]
    assert mlp.predict(rows).tolist() == expected
    assert mlp.evaluate(rows, expected).accuracy == 1.0
    printing.PRINTERS["csv", False](mlp, ["row"] * 4, shares)
    assert [row.split(",")[1] for row in capsys.readouterr().out.split()[1:]] == [
        *map(str, expected)
    ]
    dataset = backendmlp.Dataset(
        "d", "", PIXELS[:9] / 1, LABELS[:9], rows[:2], np.array([0, 2]), ("0", "1", "2")
    )
    assert findings.try_network(mlp, dataset)[0].tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize("hidden", [(), (1,)])
@pytest.mark.parametrize("way", ["file", "assigned", "trained on"])
def test_a_bias_of_minus_zero_is_none(hidden, way, backend, tmp_path):
    """All terms of the product are zeros, of negative sign: -0 on JAX, and +0 elsewhere."""
    sizes = (1, *hidden, 1)
    parameters = {}
    for layer, (rows, columns) in enumerate(itertools.pairwise(sizes), 1):
        parameters[f"W{layer}"] = -np.ones((rows, columns))
        parameters[f"b{layer}"] = np.full(columns, -0.0)
    mlp = MLP(hidden, loss="squared_error", lr=1e-300, epochs=1)
    mlp.fit(np.eye(2, 1, dtype=np.uint8) * 255, np.zeros(2))
    mlp.parameters = parameters
    if way == "file":
        mlp.save(tmp_path / "model.safetensors")
        mlp = MLP.load(tmp_path / "model.safetensors")
    mlp.to(backend.name)
    zeros = np.zeros((3, 1), np.uint8)
    if way == "trained on":
        mlp.partial_fit(zeros, np.zeros(3))
        assert not any(np.signbit(b).any() for name, b in mlp.parameters.items() if name[0] == "b")
    assert not np.signbit(mlp.predict(zeros)).any()
    assert np.signbit(parameters["b1"]).all()  # the caller's


def test_weights_beyond_its_range_are_left_to_the_definition():
    mlp = MLP(30, epochs=1).fit(PIXELS[:300], LABELS[:300])
    large = {name: value * 2.0**40 for name, value in mlp.parameters.items()}
    recipe = mlp.config.recipe()
    p = model.settle(recipe.arithmetic, large)
    expected = evaluation.outputs(recipe, p, PIXELS[:500])
    found = Scorer(NUMPY, recipe, large).outputs(PIXELS[:500])
    assert exact.bits(found) == exact.bits(expected)


@pytest.mark.parametrize("numerics", ["bitwise", "native"])
def test_threads_may_share_a_model(numerics):
    mlp = MLP(30, epochs=1, numerics=numerics).fit(PIXELS[:300], LABELS[:300])
    before = copy.deepcopy(mlp.parameters)
    alone = [mlp.predict_proba(PIXELS[i : i + 700]).tobytes() for i in range(8)]
    found: dict[int, bytes] = {}

    def show(i: int) -> None:
        for _ in range(5):
            found[i] = mlp.predict_proba(PIXELS[i : i + 700]).tobytes()

    threads = [threading.Thread(target=show, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i] for i in range(8)] == alone
    for name, value in before.items():
        assert mlp.parameters[name].tobytes() == value.tobytes()


@pytest.fixture
def many(sample):
    """A model and images enough that several threads predict."""
    mlp = backendmlp.MLP(200, epochs=1, batch_size=500).fit(
        sample.train_images[:1000], sample.train_labels[:1000]
    )
    return mlp, sample.train_images


def test_a_prediction_is_interrupted_between_its_rounds(many, monkeypatch):
    mlp, images = many
    expected = mlp.predict_proba(images).tobytes()
    monkeypatch.setattr(scoring, "_ROUND", 3000)
    score, rounds = scoring._Crowd.score, []

    def interrupted(self, *given):
        rounds.append(score(self, *given))
        if len(rounds) == 2:
            raise KeyboardInterrupt
        return rounds[-1]

    monkeypatch.setattr(scoring._Crowd, "score", interrupted)
    with threadpoolctl.threadpool_limits(3):
        with pytest.raises(KeyboardInterrupt):
            mlp.predict_proba(images)
        assert mlp.predict_proba(images).tobytes() == expected
    assert rounds == [True] * 6


@forking
def test_a_child_forked_beside_a_prediction_predicts_too(many, steps):
    """It would wait for ever for a lock that a thread of its parent held."""
    mlp, images = many
    expected = mlp.predict_proba(images[:5]).tobytes()
    (scorer,) = (one for one in mlp._scorer[2]._faster.values() if one is not None)
    with scorer._lock:  # as if another thread were in there
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            os._exit(0 if mlp.predict_proba(images[:5]).tobytes() == expected else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

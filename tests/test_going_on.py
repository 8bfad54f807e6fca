"""Runs of any network, killed within every epoch, gone on with elsewhere, and made longer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import formula
import numpy as np
import pytest
from commandline import leftovers, one_thread, receipt
from conftest import open_or_skip

import backendmlp
from backendmlp import MLP, Config, Dataset, InputError, resume_run, train_run, verify
from backendmlp.runs import checkpoint, folder
from backendmlp.runs.modelfile import load_model, save_model
from backendmlp.runs.run import Every, Run
from backendmlp.runs.stored import CHECKPOINT, FINAL, MODEL
from backendmlp.training import epochs as training
from backendmlp.training.trainer import DivergenceError

pytestmark = pytest.mark.filterwarnings("ignore:the training is lost")

SMALL: dict[str, Any] = {"batch_size": 16, "seed": 5}
BEST: dict[str, Any] = {**SMALL, "optimizer": "adam", "lr": 0.01, "validation_split": 0.2}
DEEP = Config((6, 4), epochs=4, patience=4, class_weight="balanced", l2=0.1, clip_norm=1.0, **BEST)
EARLY = Config(5, epochs=20, patience=1, **{**BEST, "lr": 0.2})
# Best after the second epoch of four: its weights are the end, and not those after the last.
GONE_BY = Config(5, epochs=4, patience=3, **{**BEST, "lr": 0.2})
ADAPTIVE = Config(5, epochs=6, schedule="adaptive", patience=1, tol=0.5, lr=0.3, **SMALL)
CASES: dict[str, tuple[Config, Callable[[], Dataset]]] = {
    "deep": (DEEP, formula.dataset),
    "early": (EARLY, formula.dataset),
    "gone by": (GONE_BY, formula.dataset),
    "adaptive": (ADAPTIVE, formula.dataset),
    "no hidden layer": (
        Config((), epochs=3, optimizer="momentum", schedule="step", decay_every=1, **SMALL),
        formula.dataset,
    ),
    "cosine": (
        Config((5,), epochs=3, optimizer="adamw", schedule="cosine", warmup=0.5, **SMALL),
        formula.dataset,
    ),
    "regression": (
        Config(
            (5, 4), epochs=3, loss="squared_error", activation="tanh", optimizer="nesterov",
            l2=0.1, monitor="validation_score", patience=2, **SMALL,
        ),
        formula.targets,
    ),
    "native": (
        Config((5, 4), epochs=3, numerics="native", optimizer="adam", **SMALL), formula.dataset,
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Run]]:
    """Each case's run that nothing interrupted, made once."""
    made: dict[str, tuple[Path, Run]] = {}

    def run(name: str) -> tuple[Path, Run]:
        if name not in made:
            config, data = CASES[name]
            place = tmp_path_factory.mktemp("alone") / "run"
            made[name] = place, train_run(place, data(), config)
        return made[name]

    return run


def after(looks: int) -> Callable[[], bool]:
    left = iter(range(looks))
    return lambda: next(left, None) is None


def killed(place: Path, data: Dataset, config: Config, name: str) -> None:
    """Go on with the run for three batches, and leave it there as a process does that is killed."""
    at, found = open_or_skip(name), folder.stored(place)
    settings = (at, config, data, folder.data_of(data), Every(), True, found)
    with at.scope(), folder.prepared(place, *settings) as run:
        run.trainer.advance(3)
        run.save_checkpoint()


def without_seconds(run: Run) -> list[Any]:
    return [replace(epoch, seconds=0.0) for epoch in run.epochs]


@pytest.mark.parametrize("name", CASES)
def test_killed_within_every_epoch(name: str, alone: Any, tmp_path: Path):
    config, make = CASES[name]
    expected, data = alone(name)[1], make()
    places = cycle(["numpy"] if config.numerics == "native" else ["numpy", "torch"])
    run = train_run(tmp_path, data, config, should_stop=lambda: True)
    while not run.finished:
        killed(tmp_path, data, config, next(places))
        where = open_or_skip(next(places)).name
        next(places)
        run = resume_run(tmp_path, data, backend=where, should_stop=after(1))
        assert len(run.epochs) <= config.epochs
    assert without_seconds(run) == without_seconds(expected)
    assert run.weights_sha256 == expected.weights_sha256
    model = (tmp_path / MODEL).read_bytes()
    assert model == (alone(name)[0] / MODEL).read_bytes()
    assert backendmlp.digest(MLP.load(tmp_path / MODEL).parameters) == run.weights_sha256
    assert receipt(tmp_path)["weights_sha256"] == run.weights_sha256
    assert leftovers(tmp_path) == leftovers(alone(name)[0])
    verdict = verify(tmp_path, data)
    assert str(verdict).endswith(f"{run.weights_sha256}, model.safetensors agrees")


def test_the_cases_are_what_they_are_called(alone: Any):
    assert len(alone("early")[1].epochs) < EARLY.epochs
    for name in ("early", "gone by"):
        run = alone(name)[1]
        assert run.weights_sha256 != run.epochs[-1].weights_sha256
    assert alone("adaptive")[1].trainer.course.rate < ADAPTIVE.lr
    kept = {name for name in CASES if (alone(name)[0] / FINAL).exists()}
    assert kept == set(CASES) - {"early", "adaptive", "cosine"}


@pytest.mark.parametrize("name", sorted(set(CASES) - {"early", "cosine", "native"}))
def test_a_finished_run_is_trained_on(name: str, alone: Any, tmp_path: Path):
    config, make = CASES[name]
    more = replace(config, epochs=config.epochs + 2)
    expected = train_run(tmp_path / "longer", make(), more)
    place = shutil.copytree(alone(name)[0], tmp_path / "run")
    assert resume_run(place, make()).weights_sha256 == alone(name)[1].weights_sha256
    run = resume_run(place, make(), epochs=more.epochs, backend=open_or_skip("torch").name)
    assert without_seconds(run) == without_seconds(expected)
    assert run.weights_sha256 == expected.weights_sha256
    assert (place / MODEL).read_bytes() == (tmp_path / "longer" / MODEL).read_bytes()
    assert leftovers(place) == leftovers(tmp_path / "longer")
    assert verify(place, make()).verified


def refusal(place: Path, epochs: int, make: Callable[[], Dataset] = formula.dataset) -> str:
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    with pytest.raises(InputError) as caught:
        resume_run(place, make(), epochs=epochs)
    assert before == {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    return str(caught.value)


def test_runs_that_cannot_be_trained_on(alone: Any, tmp_path: Path):
    sentence = "epochs was 3 and is 5, on which all rates of a cosine schedule depend"
    assert sentence in refusal(alone("cosine")[0], 5)
    assert "epochs was 3 and is 2" not in refusal(alone("cosine")[0], 2)
    early, run = alone("early")
    assert f"it ended early, after epoch {len(run.epochs)}, and more" in refusal(early, 30)
    for name in ("deep", "gone by"):
        place = shutil.copytree(alone(name)[0], tmp_path / name)
        (place / FINAL).unlink()
        assert f"it is finished, and the {FINAL} is gone" in refusal(place, 9)
        assert resume_run(place, formula.dataset()).weights_sha256 == alone(name)[1].weights_sha256


def test_one_with_a_foreseen_schedule_is_not_made_longer_on_its_way(tmp_path: Path):
    config, make = CASES["cosine"]
    train_run(tmp_path, make(), config, should_stop=after(1))
    assert "rates of a cosine schedule depend" in refusal(tmp_path, 9)


def test_a_damaged_final_state_is_named(alone: Any, tmp_path: Path):
    place = shutil.copytree(alone("deep")[0], tmp_path / "run")
    (place / FINAL).write_bytes((place / FINAL).read_bytes()[:-1])
    assert FINAL in refusal(place, 9)


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_a_receipt_is_made_again_from_the_final_state(alone: Any, tmp_path: Path, text: str | None):
    place = shutil.copytree(alone("deep")[0], tmp_path / "run")
    whole = receipt(place)
    (place / "run.json").unlink()
    if text is not None:
        (place / "run.json").write_text(text)
    other = shutil.copytree(place, tmp_path / "other")
    shutil.copy(alone("gone by")[0] / MODEL, other / MODEL)  # of another run
    assert "has another configuration than the receipt" in refusal(other, DEEP.epochs)
    run = resume_run(place, formula.dataset())
    assert (run.finished, run.weights_sha256) == (True, alone("deep")[1].weights_sha256)
    assert receipt(place) == whole
    assert leftovers(place) == [FINAL]


def test_killed_before_the_checkpoint_is_put_away(alone: Any, tmp_path: Path):
    for name in ("deep", "gone by"):
        place = shutil.copytree(alone(name)[0], tmp_path / name)
        shutil.move(place / FINAL, place / CHECKPOINT)
        for lost in ("run.json", MODEL):
            (place / lost).unlink()
        run = resume_run(place, formula.dataset())
        assert (run.finished, run.weights_sha256) == (True, alone(name)[1].weights_sha256)
        assert leftovers(place) == [FINAL]
        assert (place / MODEL).read_bytes() == (alone(name)[0] / MODEL).read_bytes()


def test_a_lost_checkpoint(alone: Any, tmp_path: Path):
    train_run(tmp_path / "adam", formula.dataset(), DEEP, should_stop=after(2))
    (tmp_path / "adam" / CHECKPOINT).unlink()
    assert "which held what its optimiser (adam) had gathered" in refusal(tmp_path / "adam", 4)
    plain = Config(5, epochs=4, patience=3, validation_split=0.2, lr=1.0, **SMALL)
    expected = train_run(tmp_path / "plain", formula.dataset(), plain)
    train_run(tmp_path / "lost", formula.dataset(), plain, should_stop=after(3))
    (tmp_path / "lost" / CHECKPOINT).unlink()
    run = resume_run(tmp_path / "lost", formula.dataset())
    assert run.weights_sha256 == expected.weights_sha256


def test_what_a_checkpoint_holds(tmp_path: Path):
    run = train_run(tmp_path, formula.dataset(), DEEP, should_stop=after(1))
    killed(tmp_path, formula.dataset(), DEEP, "numpy")
    found = checkpoint.load(tmp_path / CHECKPOINT)
    parameters = [f"{kind}{layer}" for layer in (1, 2, 3) for kind in "Wb"]
    slots = [f"{slot}.{name}" for slot in ("mean", "square") for name in parameters]
    assert set(found.state.learned) == set(found.state.before) == {*parameters, *slots}
    assert set(found.state.best) == set(parameters)
    assert set(found.state.parts) == {"totals", "picked"}
    assert backendmlp.digest(found.state.best) == run.epochs[0].weights_sha256
    assert (found.config, found.complete, found.through) == (DEEP, True, False)


@pytest.mark.parametrize("spoilt", ["test", "validation"])
def test_a_loss_that_is_not_finite_keeps_the_weights_of_before(
    spoilt: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data = formula.dataset()
    run = train_run(tmp_path, data, DEEP, should_stop=after(1))
    evaluated, which = training._evaluated, cycle(["test", "validation"])

    def overflowing(trainer: Any, shown: Any) -> Any:
        found, outputs = evaluated(trainer, shown)
        return ({**found, "loss": float("inf")} if next(which) == spoilt else found), outputs

    monkeypatch.setattr(training, "_evaluated", overflowing)
    with pytest.raises(
        DivergenceError, match=rf"the {spoilt} loss is not finite .* before that epoch are kept"
    ):
        resume_run(tmp_path, data)
    assert receipt(tmp_path)["weights_sha256"] == run.epochs[0].weights_sha256
    assert backendmlp.digest(MLP.load(tmp_path / MODEL).parameters) == run.weights_sha256


def test_validation_data_are_needed_or_are_too_many(tmp_path: Path):
    monitored = Config(5, epochs=2, monitor="validation_loss", patience=1, **SMALL)
    with pytest.raises(InputError, match="validation_loss is to be monitored, and there are no"):
        train_run(tmp_path, formula.dataset(), monitored)
    both = replace(CASES["regression"][0], validation_split=0.5)
    with pytest.raises(InputError, match="validation data are given, and validation_split"):
        train_run(tmp_path, formula.targets(), both)
    with pytest.raises(InputError, match="each row has one class"):
        train_run(tmp_path, formula.targets(), Config(5))
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_what_fit_makes_of_the_same(alone: Any):
    data, choices = formula.targets(), CASES["regression"][0].as_dict()
    given = {"test": (data.test_images, data.test_labels), "validation": data.validation}
    mlp = MLP(**choices)
    mlp.fit(data.train_images, data.train_labels, sample_weight=data.train_weights, **given)
    place, run = alone("regression")
    assert [replace(epoch, seconds=0.0) for epoch in mlp.history] == without_seconds(run)
    loaded = MLP.load(place / MODEL)
    assert np.array_equal(loaded.predict(data.test_images), mlp.predict(data.test_images))
    assert np.array_equal(loaded.unit, mlp.unit)
    assert loaded.score(data.test_images, data.test_labels) == run.epochs[-1].test_r2


def test_verify_names_what_differs(alone: Any, tmp_path: Path):
    place = shutil.copytree(alone("regression")[0], tmp_path / "run")
    data, text = formula.targets(), json.dumps(receipt(place))
    for name in ("validation_loss", "validation_r2", "test_r2"):
        found = json.loads(text)
        entry = found["epochs"][1]
        entry[name] = float(np.nextafter(entry[name], 9))
        (place / "run.json").write_text(json.dumps(found))
        difference = str(verify(place, data))
        assert f"differs: epoch 2 of 3: the weights agree, but {name} was" in difference
    (place / "run.json").write_text(text)
    parameters, metadata = load_model(place / MODEL)
    parameters["unit"][2] *= 2.0
    save_model(place / MODEL, parameters, metadata)
    assert f"differs: {MODEL} has another unit than the data have" in str(verify(place, data))


def test_a_model_of_the_last_epoch_is_not_the_best(alone: Any, tmp_path: Path):
    place = shutil.copytree(alone("gone by")[0], tmp_path / "run")
    shutil.copy(place / "epochs" / "0004.safetensors", place / MODEL)
    verdict = str(verify(place, formula.dataset()))
    assert verdict.startswith(
        f"differs: {MODEL} is not what the receipt ends with: W1, b1, W2, b2 differ"
    )

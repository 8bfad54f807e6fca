"""One training on many processes: the bits of one, agreement, and a common end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import commandline as cl
import golden
import numpy as np
import pytest
from commandline import receipt
from conftest import import_or_skip, open_or_skip
from together import ThreadRanks, environment, launch, mpiexec, together

import backendmlp
from backendmlp import MLP, Config, InputError
from backendmlp.commands.info import describe
from backendmlp.distributed import joining
from backendmlp.distributed.compiled import SharedCompiledStep
from backendmlp.distributed.gathering import own_rows
from backendmlp.distributed.step import SharedStep
from backendmlp.network.recipe import Learned
from backendmlp.ranks import ALONE, bounds
from backendmlp.runs import record as records
from backendmlp.runs.folder import resume_run, train_run
from backendmlp.steps import choose
from backendmlp.steps.definition import Step
from backendmlp.steps.stepper import Rows

GOLDEN = json.loads(golden.FILE.read_text())
CASES = [case for case in GOLDEN if case != "wide"]


@pytest.fixture
def joined(monkeypatch):
    """Lets ``distributed=True`` find the ranks that ``joined.ranks`` holds in each thread."""
    here = threading.local()
    monkeypatch.setattr(joining, "_world", lambda: here.ranks)
    monkeypatch.setattr(joining, "_share_processors", lambda ranks: None)
    return here


def came_out(mlp: MLP) -> dict:
    score = "test_r2" if mlp.config.regression else "test_accuracy"
    return {
        "train_loss": [record.train_loss.hex() for record in mlp.history],
        "test_loss": [record.test_loss.hex() for record in mlp.history],
        score: [getattr(record, score) for record in mlp.history],
        "weights_sha256": [record.weights_sha256 for record in mlp.history],
        "predictions_sha256": [record.predictions_sha256 for record in mlp.history],
    }


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["definition", "compiled"])
def test_any_number_of_ranks_gives_the_golden_digests(
    case, size, kind, joined, monkeypatch, request
):
    if kind == "compiled":
        request.getfixturevalue("steps")
    else:
        monkeypatch.setattr(choose, "possible", lambda *_: False)
    (images, labels), test = golden.given(case)

    def work(ranks: ThreadRanks) -> tuple[dict, str]:
        joined.ranks = ranks
        mlp = MLP(**golden.CASES[case].settings, seed=100)
        mlp.fit(images, labels, test=test, distributed=True)
        return came_out(mlp)

    assert together(size, work) == [GOLDEN[case]] * size


def problem(hidden, rows, batch, *, loss="cross_entropy", pixels=True, weighed=False, **choices):
    """A recipe, what is learned, rows, an order and the numbers of its steps."""
    rng = np.random.default_rng(rows + batch)
    config = Config(hidden, batch_size=batch, loss=loss, **choices)
    recipe, sizes = config.recipe(), config.sizes(30, 4)
    shape = (rows, 30)
    x = rng.integers(0, 256, shape).astype(np.uint8) if pixels else rng.integers(-99, 99, shape)
    y = rng.integers(0, 4, rows) if loss == "cross_entropy" else rng.normal(size=(rows, 4))
    parameters = {}
    for layer, (a, b) in enumerate(pairwise(sizes), 1):
        parameters[f"W{layer}"] = np.round(rng.normal(size=(a, b)) * 2**20) / 2**20
        parameters[f"b{layer}"] = np.zeros(b)
    unit = None if pixels else np.full(30, 2.0**-8)
    learned = Learned.of(recipe, parameters, unit)
    weights = rng.uniform(0, 2, rows) if weighed else None
    order = rng.permutation(rows)
    steps = -(-rows // batch)
    numbers = recipe.optimizer.coefficients(np.full(steps, config.lr), 0, config.weight_decay)
    x = x if pixels else x.astype(np.int32)
    return recipe, learned, Rows(x, y, weights), order, batch, numbers


PROBLEMS = {
    "one layer": problem((20,), 50, 16),
    "no hidden layer": problem((), 50, 16, optimizer="adam"),
    "deep": problem((13, 9, 7), 60, 25, optimizer="momentum", l2=0.1, activation="tanh"),
    "clipped": problem((12, 8), 40, 16, clip_norm=0.01, l2=0.5, weighed=True),
    "regression": problem((11,), 40, 17, loss="squared_error", optimizer="nesterov", lr=1e-4),
    "features": problem((10, 6), 40, 20, pixels=False, weighed=True, optimizer="adamw"),
    "fewer rows than ranks": problem((10,), 11, 2),
}


def advanced(stepper, rows, order, size, numbers):
    parts = stepper.advance(rows, order, size, numbers)
    learned = stepper.learned.as_dict(stepper.recipe)
    scores = stepper.score(rows.inputs[:2], rows.targets[:2])
    return [x.tobytes() for x in (*parts, *learned.values(), *scores.parts, scores.outputs)]


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("division", [None, (1, 1), (3, 1), (1, 2), (2, 2)])
def test_every_kind_of_step_has_the_bits_of_the_definition(name, size, division, request):
    """``division`` of a rank's threads; None: the definition."""
    recipe, learned, rows, *rest = PROBLEMS[name]
    at = backendmlp.select("numpy")
    expected = advanced(Step(recipe, learned), rows, *rest)
    if division:
        request.getfixturevalue("steps")

    def work(ranks: ThreadRanks) -> list[bytes]:
        # Other ranks divide the work in other ways.
        own = division and (division if ranks.rank % 2 == 0 else division[::-1])
        if division:
            step = SharedCompiledStep(at, recipe, learned, rows, ranks, own)
        else:
            step = SharedStep(at, recipe, learned, ranks)
        return advanced(step, rows, *rest)

    with np.errstate(all="ignore"):
        assert together(size, work) == [expected] * size


def test_compiled_steps_are_made_by_compiled_code_and_meet_twice(steps, monkeypatch):
    recipe, learned, rows, order, batch, numbers = PROBLEMS["deep"]
    monkeypatch.setattr(SharedCompiledStep, "_define", None)  # the definition, which must not help

    def work(ranks: ThreadRanks) -> int:
        step = SharedCompiledStep(backendmlp.select("numpy"), recipe, learned, rows, ranks)
        before = ranks.table.meetings
        step.advance(rows, order[:50], batch, numbers)
        return ranks.table.meetings - before

    # Two steps, and the losses' parts of all of them, one after the other.
    assert together(2, work)[0] == 2 * 2 + len(recipe.loss.parts)


def test_what_goes_wrong_in_a_meeting_comes_out_of_compiled_code(steps):
    recipe, learned, rows, *rest = PROBLEMS["one layer"]

    class Cut(ThreadRanks):
        def total(self, x: np.ndarray) -> None:
            raise ConnectionError("the cable is cut")

    def work(ranks: ThreadRanks) -> None:
        ranks.__class__ = Cut
        SharedCompiledStep(
            backendmlp.select("numpy"), recipe, learned, rows, ranks, (2, 2)
        ).advance(rows, *rest)

    for error in together(2, work):
        assert isinstance(error, ConnectionError)


@pytest.mark.parametrize("kind", ["definition", "compiled"])
def test_a_nan_on_one_rank_alone_is_everyones(kind, request):
    """Numbers beyond the range of compiled steps, too: all leave them to the definition."""
    if kind == "compiled":
        request.getfixturevalue("steps")
    recipe, learned, rows, order, batch, numbers = problem(
        (6,), 32, 16, loss="squared_error", lr=1e-3
    )
    targets = rows.targets.copy()
    targets[order[0]] = 1e308  # the first rank's
    rows = replace(rows, targets=targets)
    at = backendmlp.select("numpy")
    with np.errstate(all="ignore"):
        expected = Step(recipe, learned)
        expected.advance(rows, order, batch, numbers)

    def work(ranks: ThreadRanks) -> dict[str, np.ndarray]:
        with np.errstate(all="ignore"):
            make = SharedCompiledStep if kind == "compiled" else None
            step = (
                make(at, recipe, learned, rows, ranks)
                if make
                else SharedStep(at, recipe, learned, ranks)
            )
            step.advance(rows, order, batch, numbers)
            return step.learned.as_dict(recipe)

    wanted = expected.learned.as_dict(recipe)
    assert not np.isfinite(wanted["W1"]).all()
    for found in together(2, work):
        for name, value in wanted.items():
            np.testing.assert_array_equal(found[name], value)


@pytest.mark.slow
def test_numpy_and_pytorch_train_together(joined):
    open_or_skip("torch")
    case = "regression"
    (images, labels), test = golden.given(case)

    def work(ranks: ThreadRanks) -> dict:
        joined.ranks = ranks
        backend = ("numpy", "torch")[ranks.rank]
        mlp = MLP(**golden.CASES[case].settings, seed=100, backend=backend)
        return came_out(mlp.fit(images, labels, test=test, distributed=True))

    assert together(2, work) == [GOLDEN[case]] * 2


def test_every_row_has_one_rank():
    assert bounds(10, 3) == [0, 3, 6, 10]
    ranks = [ThreadRanks(type("Table", (), {"size": 3})(), rank) for rank in range(3)]
    found = [own_rows(rank, [4, 4, 1]).tolist() for rank in ranks]
    assert found == [[0, 4], [1, 5], [2, 3, 6, 7, 8]]
    assert own_rows(ALONE, [4, 1]).tolist() == [0, 1, 2, 3, 4]


def fit_on(ranks, joined, config, images, labels, **settings):
    joined.ranks = ranks
    MLP(**config).fit(images, labels, distributed=True, **settings)


@pytest.mark.parametrize(
    ("config", "darker", "sentence"),
    [
        ({"lr": 0.2}, 0, "lr is 0.2 on rank 1 and 0.1 on rank 0; start all ranks with the same"),
        ({"hidden": (5, 5)}, 0, "hidden is [5, 5] on rank 1 and [4] on rank 0; "),
        ({}, 1, "the digest of the training data is "),
    ],
)
def test_ranks_that_differ_are_refused_by_name(small, joined, config, darker, sentence):
    images, labels = small["images"], small["labels"]

    def work(ranks: ThreadRanks) -> None:
        theirs = {"hidden": 4, "epochs": 1, **(config if ranks.rank else {})}
        fit_on(ranks, joined, theirs, images // (1 + darker * ranks.rank), labels)

    for error in together(2, work):
        assert isinstance(error, InputError)
        assert str(error).startswith(sentence)


def test_native_numerics_are_refused(small, joined):
    def work(ranks: ThreadRanks) -> None:
        fit_on(ranks, joined, {"numerics": "native"}, small["images"], small["labels"])

    for error in together(2, work):
        assert str(error) == (
            "numerics is 'native', whose bits would depend on the number of ranks; choose "
            "'bitwise', or a single process"
        )


@pytest.mark.parametrize(
    ("error", "sentence", "code"),
    [
        (OSError("its disk is gone"), "rank 1 failed: OSError: its disk is gone", 2),
        (KeyboardInterrupt(), "rank 1 was interrupted", 130),
    ],
)
def test_a_rank_that_fails_ends_all_in_one_sentence(small, joined, capfd, error, sentence, code):
    tables = []

    def work(ranks: ThreadRanks) -> None:
        tables.append(ranks.table)

        def fail(record) -> None:
            if ranks.rank == 1 and record.epoch == 2:
                raise error

        config = {"hidden": 4, "epochs": 3}
        fit_on(ranks, joined, config, small["images"], small["labels"], on_epoch=fail)

    first, second = together(2, work)
    assert isinstance(first, threading.BrokenBarrierError)
    assert second is error
    assert f"Error: {sentence}\n" in capfd.readouterr().err
    assert tables[0].code == code


@pytest.mark.parametrize("alone", [False, True])
def test_a_callback_of_one_rank_ends_the_training_of_all(small, joined, alone):
    """Where the others have callbacks too, and where they have none."""

    def work(ranks: ThreadRanks) -> int:
        joined.ranks = ranks
        mlp = MLP(4, epochs=5)
        stop = [lambda mlp, record: ranks.rank == 1 and record.epoch == 2]
        stop = [] if alone and ranks.rank == 0 else stop
        mlp.fit(small["images"], small["labels"], callbacks=stop, distributed=True)
        return len(mlp.history)

    assert together(2, work) == [2, 2]


def test_a_folder_is_written_by_one_rank_and_goes_on_on_any_number(
    sample, joined, tmp_path, capsys
):
    """Stopped by a rank that is not the first, within an epoch; and then on others, and on none."""
    config = Config((20,), epochs=3, batch_size=50)
    whole = train_run(tmp_path / "alone", sample, config)

    def work(ranks: ThreadRanks, **settings) -> bool:
        joined.ranks = ranks
        looks = iter(range(1000))

        def stop() -> bool:
            return ranks.rank == 1 and next(looks) == 3

        run = train_run(
            tmp_path / "run", sample, config, distributed=True, should_stop=stop, **settings
        )
        return run.finished

    assert together(2, work) == [False, False]
    record = records.read(tmp_path / "run" / "run.json")
    assert record.parallel["ranks"] == 2
    assert record.parallel["split"] == "rows"
    assert [member["backend"] for member in record.parallel["members"]] == ["numpy", "numpy"]

    def go_on(ranks: ThreadRanks) -> tuple[bool, str]:
        joined.ranks = ranks
        looks = iter(range(1000))
        stop = lambda: next(looks) == 2  # noqa: E731
        run = resume_run(tmp_path / "run", distributed=True, should_stop=stop)
        return run.finished

    assert together(3, go_on) == [False] * 3
    assert records.read(tmp_path / "run" / "run.json").parallel["ranks"] == 3
    describe(tmp_path / "run" / "run.json")
    assert "\ntogether       3 ranks, threads\n" in capsys.readouterr().out
    ended = resume_run(tmp_path / "run")
    assert ended.finished
    assert ended.weights_sha256 == whole.weights_sha256
    assert records.read(tmp_path / "run" / "run.json").parallel is None
    assert backendmlp.verify(tmp_path / "run")


def test_any_number_of_ranks_repeats_a_run(sample, joined, tmp_path):
    """Made alone, or by others; the first alone sees its files, and a difference ends all."""
    made = tmp_path / "run"
    train_run(made, sample, Config((20,), epochs=2))

    def work(ranks: ThreadRanks) -> backendmlp.Verdict:
        joined.ranks = ranks
        seen = made if ranks.rank == 0 else tmp_path / "not here"
        return backendmlp.verify(seen, sample, distributed=True)

    alone = backendmlp.verify(made, sample)
    assert alone.verified
    assert together(2, work) == [alone] * 2
    text = receipt(made)
    text["epochs"][0]["test_loss"] = 0.5
    (made / "run.json").write_text(json.dumps(text))
    for verdict in together(3, work):
        assert (verdict.agreed, verdict.verified) == (0, False)
        assert "test_loss was 0.5 and is " in verdict.difference


def test_native_runs_are_repeated_by_a_single_process(sample, joined, tmp_path):
    train_run(tmp_path / "run", sample, Config((4,), epochs=1, numerics="native"))

    def work(ranks: ThreadRanks) -> None:
        joined.ranks = ranks
        backendmlp.verify(tmp_path / "run", sample, distributed=True)

    for error in together(2, work):
        assert str(error).startswith("numerics is 'native', whose bits would depend on")


def test_a_receipt_with_a_damaged_parallel_is_refused(sample, joined, tmp_path):
    def work(ranks: ThreadRanks) -> None:
        joined.ranks = ranks
        train_run(tmp_path / "run", sample, Config((4,), epochs=1), distributed=True)

    assert together(2, work) == [None, None]
    path = tmp_path / "run" / "run.json"
    text = receipt(path.parent)
    for damage in ({"ranks": 3}, {"ranks": "2"}, {"members": None}):
        path.write_text(json.dumps({**text, "parallel": {**text["parallel"], **damage}}))
        with pytest.raises(InputError, match=r"its parallel .*; use an undamaged file"):
            records.read(path)


def test_one_rank_is_a_single_process(small, joined):
    joined.ranks = ALONE
    mlp = MLP(4, epochs=1).fit(small["images"], small["labels"], distributed=True)
    other = MLP(4, epochs=1).fit(small["images"], small["labels"])
    assert mlp.history[-1].weights_sha256 == other.history[-1].weights_sha256


def test_processors_are_shared_out_unless_somebody_said_otherwise(monkeypatch):
    limits = []
    monkeypatch.setattr(joining, "threadpool_limits", limits.append)
    for name in {name for names in joining._THREADS.values() for name in names}:
        monkeypatch.delenv(name, raising=False)
    ranks = type("Ranks", (), {"beside": lambda self: [{0, 1, 2, 3}] * 2})()
    joining._share_processors(ranks)
    ranks = type("Ranks", (), {"beside": lambda self: [{0, 1}, {2, 3}, {4, 5}]})()
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    joining._share_processors(ranks)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    joining._share_processors(ranks)
    assert limits == [{"openmp": 2, "blas": 2}, {"openmp": 2}, {}]


def test_without_mpi4py_the_extra_is_what_is_missing(small, monkeypatch):
    monkeypatch.setattr(joining.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError) as error:
        MLP(4).fit(small["images"], small["labels"], distributed=True)
    assert str(error.value) == (
        "the package 'mpi4py' is not installed; install it with: "
        "pip install 'mpi4py>=4' 'mpich>=4.2'"
    )


# From here on with a real MPI.


@pytest.fixture
def mpi():
    import_or_skip("mpi4py")
    if mpiexec() is None:
        pytest.skip("there is no mpiexec")


def command(*arguments: str) -> list[str]:
    return ["-m", "backendmlp", "train", "--distributed", *arguments]


SCRIPT = """
import json, sys
sys.path.insert(0, {tests!r})
import golden, backendmlp, test_distributed
from mpi4py import MPI
for case in sys.argv[1:]:
    mlp = backendmlp.MLP(**golden.CASES[case].settings, seed=100)
    (images, labels), test = golden.given(case)
    found = test_distributed.came_out(mlp.fit(images, labels, test=test, distributed=True))
    same = MPI.COMM_WORLD.gather(found)
    if MPI.COMM_WORLD.rank == 0:
        print(json.dumps(same))
"""


@pytest.mark.parametrize(
    ("size", "cases"),
    [(2, ["features"]), *(pytest.param(n, CASES, marks=pytest.mark.slow) for n in (1, 2, 3, 5, 8))],
)
def test_real_ranks_give_the_golden_digests(mpi, tmp_path, size, cases):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent)))
    process = launch(*[[str(script), *cases]] * size)
    assert process.returncode == 0, process.stderr
    found = [json.loads(line) for line in process.stdout.splitlines()]
    assert found == [[GOLDEN[case]] * size for case in cases]


@pytest.mark.slow
def test_the_command_line_trains_together_and_the_first_rank_alone_speaks(mpi, tmp_path):
    options = ["--epochs", "2", "--hidden", "20"]
    process = launch(*[command(*options, "--out", str(tmp_path / "run"))] * 3)
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert len(lines) == 4
    alone = train_run(tmp_path / "alone", config=Config((20,), epochs=2))
    assert lines[2] == f"weights sha256 {alone.weights_sha256}"
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (
        tmp_path / "alone" / "model.safetensors"
    ).read_bytes()
    parallel = json.loads((tmp_path / "run" / "run.json").read_text())["parallel"]
    assert parallel["ranks"] == len(parallel["members"]) == 3
    assert re.match(r"\S.* \d+\.\d+", parallel["mpi"])
    again = launch(*[command("--resume", str(tmp_path / "run"))] * 2)
    assert again.returncode == 0
    assert again.stdout.count("is finished") == 1


@pytest.mark.slow
def test_the_command_line_verifies_together(mpi, tmp_path):
    """On another number of ranks than made the run; mistakes and differences are told once."""
    run = tmp_path / "run"
    options = ["--epochs", "2", "--hidden", "20", "--quiet", "--out", str(run)]
    assert launch(*[command(*options)] * 2).returncode == 0
    verify = ["-m", "backendmlp", "verify", "--distributed", str(run)]
    process = launch(*[verify] * 3)
    assert process.returncode == 0, process.stderr
    *epochs, verdict = process.stdout.splitlines()
    assert [line[:9] for line in epochs] == ["epoch 1/2", "epoch 2/2"]
    assert verdict.startswith("verified: 2 of 2 epochs, weights sha256 ")
    assert verdict.endswith("model.safetensors agrees")
    (run / "model.safetensors").unlink()
    process = launch(*[[*verify, "--quiet"]] * 2)
    assert process.returncode == 1
    assert process.stdout == "differs: model.safetensors is missing (2 of 2 epochs agree)\n"
    (run / "run.json").unlink()
    process = launch(*[verify] * 2)
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.startswith("Error: ")
    assert process.stderr.count("Error: ") == 1  # whatever the launcher says of it


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--lr", "0.2"], "Error: lr is 0.2 on rank 1 and 0.1 on rank 0; "),
        (["--dataset", "nothing"], "Error: rank 1: data set 'nothing' is unknown"),
    ],
)
def test_a_rank_that_was_asked_for_something_else_is_named(mpi, tmp_path, options, sentence):
    out = ["--out", str(tmp_path / "run")]
    process = launch(command(*out), command(*out, *options))
    assert process.returncode == 2
    assert process.stderr.count("Error: ") == 1
    assert sentence in process.stderr
    assert "Traceback" not in process.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("numerics", "sentence"),
    [
        ("native", "Error: numerics is 'native', whose bits would depend on"),
        ("bitwise", "Error: folder '{}' holds a run already"),
    ],
)
def test_a_mistake_of_all_is_told_once(mpi, tmp_path, numerics, sentence):
    """Of all, or of the first, which alone has the folder."""
    (tmp_path / "run.json").write_text("{}" if numerics == "bitwise" else "")
    out = tmp_path if numerics == "bitwise" else tmp_path / "run"
    process = launch(*[command("--numerics", numerics, "--out", str(out))] * 3)
    assert process.returncode == 2
    assert process.stdout == ""
    assert process.stderr.startswith(sentence.format(out))
    assert process.stderr.count("Error: ") == 1  # whatever the launcher says of it


@pytest.mark.slow
def test_another_launcher_is_refused(mpi, tmp_path):
    process = subprocess.run(
        [sys.executable, *command("--out", str(tmp_path / "run"))],
        env={**environment(), "OMPI_COMM_WORLD_SIZE": "4"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert process.returncode == 2
    assert process.stderr.startswith("Error: 4 processes were started and this one sees 1: ")
    assert not (tmp_path / "run").exists()


STARTED = "2 processes were started at once (PMI_SIZE is 2), and each "


@pytest.mark.parametrize(
    ("found", "variable", "rank"),
    [
        ({}, None, None),
        ({"PMI_SIZE": "1", "PMI_RANK": "0"}, None, None),
        ({"PMI_SIZE": "4", "PMI_RANK": "3"}, "PMI_SIZE", 3),
        ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "1"}, "OMPI_COMM_WORLD_SIZE", 1),
        # A script of sbatch's, of several tasks; and mpiexec in it.
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_TASK_PID": "7"}, None, None),
        ({"SLURM_NTASKS": "4", "SLURM_TASK_PID": "7", "PMI_SIZE": "4"}, "PMI_SIZE", 0),
        # What srun started: this process, or the shell or the script that it is in.
        ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2", "SLURM_TASK_PID": str(os.getpid())},
         "SLURM_STEP_NUM_TASKS", 2),
        ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "0", "SLURM_TASK_PID": "7"}, None, None),
        ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_TASK_PID": "7", "PMI_SIZE": "4"}, None, None),
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "4", "SLURM_TASK_PID": str(os.getpid())},
         None, None),
    ],
)  # fmt: skip
def test_who_was_started_with_others(monkeypatch, found, variable, rank):
    for name in list(os.environ):
        if name.startswith(("PMI", "OMPI", "MV2", "SLURM")):
            monkeypatch.delenv(name)
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    others = joining.launched()
    assert (others and (others.variable, others.rank)) == (variable and (variable, rank))


def test_processes_that_do_not_train_together_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "2")
    refused = cl.call("train", "--out", tmp_path / "other", "--epochs", 1)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == (
        f"Error: {STARTED}would train by itself; add --distributed to train one network together, "
        "or unset PMI_SIZE where each is to train another\n"
    )
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_processes_that_do_other_work_by_themselves_are_told_so_once(tmp_path, monkeypatch):
    run = tmp_path / "run"
    train_run(run, config=Config((4,), epochs=1), keep_epochs=False)
    monkeypatch.setenv("PMI_SIZE", "2")
    sweep = ("sweep", "--out", tmp_path / "s", "--epochs", 1, "--hidden", 4, "--jobs", 1)
    for rank in "01":
        monkeypatch.setenv("PMI_RANK", rank)
        for arguments in (("evaluate", run), ("verify", run), sweep):
            result = cl.call(*arguments)
            assert result.code == 0
            said = [line for line in result.err.splitlines() if "processes were started" in line]
            assert len(said) == (rank == "0")
            assert all(line.startswith(f"Warning: {STARTED}does all of") for line in said)
            assert all("--distributed" in line for line in said)


@pytest.mark.slow
def test_real_ranks_that_do_not_train_together_are_refused(mpi, tmp_path):
    arguments = ["-m", "backendmlp", "train", "--out", str(tmp_path / "run")]
    process = launch(arguments, arguments)
    assert process.returncode == 2
    assert "add --distributed to train one network together" in process.stderr
    assert not (tmp_path / "run").exists()


ENDS = """
import os, signal, sys, backendmlp
from mpi4py import MPI
def end(record):
    if record.epoch == 2 and MPI.COMM_WORLD.rank == 1:
        if sys.argv[1] == "raise":
            raise RuntimeError("this rank has had enough")
        os.kill(os.getpid(), signal.SIGKILL)
config = backendmlp.Config((20,), epochs=4)
backendmlp.train_run(sys.argv[2], config=config, distributed=True, on_epoch=end)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["raise", "kill"])
def test_a_rank_that_ends_takes_all_with_it_and_the_run_goes_on(mpi, tmp_path, how):
    script = tmp_path / "script.py"
    script.write_text(ENDS)
    process = launch(*[[str(script), how, str(tmp_path / "run")]] * 3, seconds=60)
    assert process.returncode != 0
    if how == "raise":
        sentence = "Error: rank 1 failed: RuntimeError: this rank has had enough"
        assert sentence in process.stderr.splitlines()  # among what MPI itself says of an end
        assert "Traceback" not in process.stderr
    resumed = launch(*[command("--resume", str(tmp_path / "run"))] * 2)
    assert resumed.returncode == 0, resumed.stderr
    alone = train_run(tmp_path / "alone", config=Config((20,), epochs=4))
    assert f"weights sha256 {alone.weights_sha256}\n" in resumed.stdout


KILLS = """
import os, random, signal, sys, threading, backendmlp
from mpi4py import MPI
folder, chance = sys.argv[1], random.Random(int(sys.argv[2]))
calls, after = chance.randrange(4), chance.uniform(0.0, 0.02)
victim = chance.randrange(MPI.COMM_WORLD.size) == MPI.COMM_WORLD.rank
def count(images):
    global calls
    calls -= 1
    if victim and calls < 0:
        threading.Timer(after, os.kill, (os.getpid(), signal.SIGKILL)).start()
told = {"distributed": True, "on_progress": count}
if os.path.exists(folder):
    backendmlp.resume_run(folder, **told)
else:
    backendmlp.train_run(folder, config=backendmlp.Config((20,), epochs=150), **told)
"""


@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="signals are Unix's")
def test_twenty_kills_at_random_moments(mpi, tmp_path):
    """Of any rank, while it trains or writes, each time on another number of them."""
    script, run = tmp_path / "script.py", tmp_path / "run"
    script.write_text(KILLS)
    for kill in range(20):
        process = launch(*[[str(script), str(run), str(kill)]] * (1 + kill % 3), seconds=100)
        assert process.returncode != 0, kill
        assert "Traceback" not in process.stderr
    resumed = launch(*[command("--resume", str(run))] * 2)
    assert resumed.returncode == 0, resumed.stderr
    alone = train_run(tmp_path / "alone", config=Config((20,), epochs=150))
    assert f"weights sha256 {alone.weights_sha256}\n" in resumed.stdout
    names = {path.name for path in run.iterdir()}
    assert names == {path.name for path in (tmp_path / "alone").iterdir()}


UNEVEN = """
import json, sys
sys.path.insert(0, {tests!r})
import numpy as np, backendmlp, test_distributed
from mpi4py import MPI
x, y, huge = test_distributed.uneven()
mlp = backendmlp.MLP(5, batch_size=3, epochs=2, loss="squared_error", lr=1e-3)
found = test_distributed.came_out(mlp.fit(x, y, test=(x, y), distributed=True))
try:
    backendmlp.MLP(5, batch_size=3, epochs=2, loss="squared_error").fit(x, huge, distributed=True)
    found["said"] = "nothing"
except backendmlp.InputError as error:
    found["said"] = str(error)
same = MPI.COMM_WORLD.gather(found)
if MPI.COMM_WORLD.rank == 0:
    print(json.dumps(same))
"""


def uneven() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ten rows, which batches of three leave one of; targets, and some with one that is huge."""
    rng = np.random.default_rng(7)
    x, y = rng.integers(0, 256, (10, 6), np.uint8), rng.normal(size=10)
    return x, y, np.where(np.arange(10) == 4, 1e308, y)


@pytest.mark.slow
def test_real_ranks_without_rows_and_a_nan_on_one_of_them(mpi, tmp_path):
    """More ranks than a batch has rows; and what diverges on one ends all as in one process."""
    x, y, huge = uneven()
    settings = {"batch_size": 3, "epochs": 2, "loss": "squared_error"}
    expected = came_out(MLP(5, lr=1e-3, **settings).fit(x, y, test=(x, y)))
    large = pytest.warns(backendmlp.DataWarning, match="too large to train well")
    with large, np.errstate(all="ignore"), pytest.raises(InputError) as error:
        MLP(5, **settings).fit(x, huge)
    expected["said"] = str(error.value)
    assert "diverged in epoch 1" in expected["said"]
    script = tmp_path / "script.py"
    script.write_text(UNEVEN.format(tests=str(Path(__file__).parent)))
    for size in (2, 5):
        process = launch(*[["-W", "ignore", str(script)]] * size)
        assert process.returncode == 0, process.stderr
        assert json.loads(process.stdout) == [expected] * size


@pytest.mark.slow
def test_real_ranks_that_read_other_data_are_named(mpi, tmp_path):
    rng = np.random.default_rng(3)
    x, y = rng.integers(0, 256, (20, 6), np.uint8), np.arange(20) % 2
    for name, images in (("one", x), ("other", x[::-1])):
        np.savez(tmp_path / f"{name}.npz", x_train=images, y_train=y, x_test=images, y_test=y)
    out = ["--out", str(tmp_path / "run"), "--data"]
    one, other = (command(*out, str(tmp_path / f"{name}.npz")) for name in ("one", "other"))
    process = launch(one, one, other)
    assert (process.returncode, process.stdout) == (2, "")
    found = re.match(r"Error: the data's SHA-256 is (\w+) on rank 2 and (\w+) on ", process.stderr)
    assert found is not None, process.stderr
    assert found[1] != found[2]
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals are Unix's")
def test_a_signal_to_one_rank_stops_all_of_them(mpi, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal, sys, threading\n"
        "from mpi4py import MPI\n"
        "from backendmlp.cli import main\n"
        "stop = lambda: os.kill(os.getpid(), signal.SIGTERM)\n"
        "MPI.COMM_WORLD.rank == 1 and threading.Timer(4.0, stop).start()\n"
        "try:\n"
        "    main(sys.argv[1:])\n"
        "except SystemExit as end:\n"
        f"    open(f'{tmp_path}/{{MPI.COMM_WORLD.rank}}', 'w').write(str(end.code))\n"
        "    raise\n"
    )
    options = ["train", "--distributed", "--epochs", "3000", "--out", str(tmp_path / "run")]
    process = launch(*[[str(script), *options, "--no-keep-epochs"]] * 2)
    assert process.returncode == 128 + signal.SIGTERM
    # Each of them that the launcher let end: Open MPI's ends the others once one has.
    codes = {path.read_text() for path in tmp_path.glob("[01]")}
    assert codes == {str(128 + signal.SIGTERM)}
    assert "stopped in epoch " in process.stdout
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()

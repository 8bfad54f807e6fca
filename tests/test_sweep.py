"""Sweeps: which runs they are, that each has its own bits, and what they come to together."""

from __future__ import annotations

import csv
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import psutil
import pytest
from commandline import receipt
from conftest import import_or_skip

import backendmlp
from backendmlp import Config, InputError, sweep
from backendmlp.cli import cli, main
from backendmlp.commands import sweep as command
from backendmlp.commands.info import describe
from backendmlp.runs import record as records
from backendmlp.runs.folder import resume_run, train_run
from backendmlp.sweeps import sweep as sweeps
from backendmlp.sweeps.grid import grid
from backendmlp.sweeps.table import Row, deciding, rows_of, write_table

OVER = {"lr": [0.1, 0.05], "seed": [1, 2]}


@pytest.fixture(scope="module")
def few(sample) -> backendmlp.Dataset:
    arrays = (sample.train_images[:200], sample.train_labels[:200])
    return backendmlp.Dataset("few", "made here", *arrays, *arrays, sample.class_names)


def digests(folder: Path) -> dict[str, str]:
    """The weights' digest of each run below ``folder``, by its name."""
    return {
        path.parent.name: records.read(path).ending.weights_sha256
        for path in sorted(folder.glob("*/run.json"))
    }


def test_a_grid_has_every_combination_the_last_changing_first():
    points = grid({"hidden": [10, (8, 4), ()], "seed": [3, 4]}, {"epochs": 2})
    assert [point.name for point in points] == [
        *("hidden=10_seed=3", "hidden=10_seed=4", "hidden=8-4_seed=3", "hidden=8-4_seed=4"),
        *("hidden=none_seed=3", "hidden=none_seed=4"),
    ]
    assert points[3].config == Config((8, 4), seed=4, epochs=2)
    assert points[3].kind == {"hidden": (8, 4)}
    assert [point.name for point in grid({}, {"epochs": 2})] == ["run"]


def test_names_are_those_of_folders_and_short():
    points = grid({"class_weight": [(1.0,) * 40, (2.0,) * 40, None]}, {})
    names = [point.name for point in points]
    assert len(set(names)) == 3
    assert all(len(name) <= 130 and "/" not in name and "," not in name for name in names)


@pytest.mark.parametrize(
    ("over", "choices", "sentence"),
    [
        ({"rate": [1]}, {}, "rate is no choice of a training; see backendmlp.Config"),
        ({"lr": 0.1}, {}, "lr is to be varied over 0.1; give a list of values"),
        ({"lr": np.array(0.1)}, {}, "lr is to be varied over array(0.1); give a list of values"),
        ([("lr", [0.1])], {}, "over is list; give a dict, of a list of values for each choice"),
        ({"lr": []}, {}, "lr is to be varied over no values; give at least one"),
        ({"lr": [0.1]}, {"lr": 0.1}, "lr is both varied and fixed; leave one of them out"),
        ({"hidden": [9, (9,)]}, {}, "the run hidden=9 is asked for twice; give each value of a "
                                    "choice once"),
        ({"seed": range(100_001)}, {}, "the sweep has more than 100,000 runs; ask for fewer"),
        ({"seed": range(10**30)}, {}, "the sweep has more than 100,000 runs; ask for fewer"),
        ({"seed": range(400), "lr": range(1, 400)}, {}, "the sweep has more than 100,000 runs; ask "
                                                        "for fewer"),
        ({"loss": ["squared_error", "cross_entropy"]}, {}, "some of the runs are regressions and "
            "others are of classes, which no one scale serves; sweep them apart"),
        ({"lr": [0.1, -1]}, {}, "lr is -1; give a finite number above zero"),
    ],
)  # fmt: skip
def test_what_makes_no_grid_is_refused(over, choices, sentence):
    with pytest.raises(InputError) as error:
        grid(over, choices)
    assert str(error.value) == sentence


def test_each_run_has_the_bits_that_it_has_by_itself(few, tmp_path):
    told = []
    found = sweep(
        tmp_path / "s", OVER, few, epochs=2, hidden=6, jobs=1, on_run=lambda run: told.append(run)
    )
    assert [run.point.name for run in found.runs] == [run.point.name for run in told]
    for run in found.runs:
        config = Config(6, epochs=2, lr=run.point.varied["lr"], seed=run.point.varied["seed"])
        alone = train_run(tmp_path / run.point.name, few, config)
        assert run.record.ending.weights_sha256 == alone.weights_sha256
        assert run.record.config == config
        assert not (run.folder / "epochs").exists()
        assert backendmlp.verify(run.folder, few)


def test_the_result_does_not_depend_on_who_computed_it(few, tmp_path):
    import_or_skip("joblib")
    settings = {"epochs": 2, "hidden": 6}
    one = sweep(tmp_path / "one", OVER, few, jobs=1, **settings)
    two = sweep(tmp_path / "two", OVER, few, jobs=2, **settings)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert [row.found for row in one.rows] == [row.found for row in two.rows]
    table = (tmp_path / "one" / "sweep.csv").read_bytes()
    assert (tmp_path / "two" / "sweep.csv").read_bytes() == table
    # Wherever the user's own configuration of joblib says.
    import joblib

    with joblib.parallel_config(backend="threading"):
        sweep(tmp_path / "three", OVER, few, jobs=2, **settings)
    assert (tmp_path / "three" / "sweep.csv").read_bytes() == table


def test_the_table_has_mean_and_spread_over_the_seeds(few, tmp_path):
    found = sweep(tmp_path / "s", OVER, few, epochs=1, hidden=6, jobs=1, validation_split=0.2)
    with open(tmp_path / "s" / "sweep.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["lr"] for row in table] == ["0.1", "0.05"]
    for row, kind in zip(table, found.rows, strict=True):
        losses = [
            run.record.ending.validation_loss
            for run in found.runs
            if str(run.point.config.lr) == row["lr"]
        ]
        assert (row["runs"], row["diverged"]) == ("2", "0")
        assert float(row["validation_loss_mean"]) == statistics.fmean(losses)
        assert float(row["validation_loss_spread"]) == statistics.stdev(losses)
        assert kind.mean("validation_loss") == statistics.fmean(losses)
    assert deciding(found.rows) == "validation_accuracy"


def test_a_sweep_goes_on_where_it_stood(few, tmp_path, monkeypatch):
    """What is finished is not trained again, what had begun goes on, and what is new is added."""
    settings = {"epochs": 3, "hidden": 6, "jobs": 1}
    whole = sweep(tmp_path / "whole", {"lr": [0.1, 0.05, 0.2]}, few, **settings)
    sweep(tmp_path / "s", {"lr": [0.1]}, few, **settings)
    looks = iter(range(100))
    config = Config(6, epochs=3, lr=0.05)
    place = tmp_path / "s" / "lr=0.05"
    train_run(place, few, config, should_stop=lambda: next(looks) == 2, keep_epochs=False)
    assert (place / "checkpoint.safetensors").exists()
    trained = []
    real = sweeps._train
    monkeypatch.setattr(sweeps, "_train", lambda *a: (trained.append(a[2].name), real(*a)))
    on = sweep(tmp_path / "s", {"lr": [0.1, 0.05, 0.2]}, few, **settings)
    assert trained == ["lr=0.05", "lr=0.2"]
    assert digests(tmp_path / "s") == digests(tmp_path / "whole")
    assert [row.found for row in on.rows] == [row.found for row in whole.rows]
    more = sweep(tmp_path / "s", {"lr": [0.1]}, few, **{**settings, "epochs": 4})
    assert len(more.runs[0].record.epochs) == 4


def test_runs_that_ended_early_are_done_whatever_epochs_are_asked_for(few, tmp_path):
    settings = {"hidden": 6, "jobs": 1, "patience": 1, "tol": 10.0}  # which no epoch betters
    first = sweep(tmp_path, {"lr": [0.1]}, few, epochs=9, **settings)
    more = sweep(tmp_path, {"lr": [0.1, 0.2]}, few, epochs=12, **settings)
    assert more.runs[0].record == first.runs[0].record
    assert len(more.runs[0].record.epochs) == 3
    alone = train_run(tmp_path / "alone", few, Config(6, lr=0.1, epochs=12, patience=1, tol=10.0))
    assert more.runs[0].record.ending.weights_sha256 == alone.weights_sha256
    with pytest.raises(InputError, match="it has come to epoch 3, and epochs is 2"):
        sweep(tmp_path, {"lr": [0.1]}, few, epochs=2, **settings)


def test_another_run_in_the_folder_is_refused(few, tmp_path):
    sweep(tmp_path, {"lr": [0.1]}, few, epochs=1, hidden=6, jobs=1)
    with pytest.raises(InputError) as error:
        sweep(tmp_path, {"lr": [0.1]}, few, epochs=1, hidden=7, jobs=1)
    place = str(tmp_path / "lr=0.1")
    expected = f"in {place!r} the run cannot be resumed: hidden was 6 and is 7; "
    assert str(error.value).startswith(expected)


def test_runs_that_are_not_in_the_table_are_counted_and_the_former_one_is_kept(
    few, tmp_path, capsys
):
    settings = {"epochs": 1, "hidden": 6, "jobs": 1}
    assert sweep(tmp_path, {"lr": [0.1, 0.05]}, few, **settings).others == []
    first = (tmp_path / "sweep.csv").read_bytes()
    found = sweep(tmp_path, {"batch_size": [50]}, few, **settings)
    assert found.others == ["lr=0.05", "lr=0.1"]
    assert found.former == tmp_path / "sweep-1.csv"
    assert found.former.read_bytes() == first
    command._say_former(found)
    assert capsys.readouterr().out == (
        f"2 other runs are in {tmp_path} and not in this table; the table before it is kept as "
        "sweep-1.csv\n"
    )


def test_no_table_that_says_more_is_lost_and_none_is_kept_twice(tmp_path):
    def rows(runs: int, *rates: float, name: str = "lr") -> list[Row]:
        return [Row({name: rate}, {"test_r2": [0.5] * runs}, 1) for rate in rates]

    def kept(table: list[Row] | bytes, others: list[Row]) -> str | None:
        for path in tmp_path.iterdir():
            path.unlink()
        (tmp_path / "sweep.png").write_bytes(b"a picture")
        if isinstance(table, bytes):
            (tmp_path / "sweep.csv").write_bytes(table)
        else:
            write_table(tmp_path / "sweep.csv", table)
        former = sweeps._put_away(tmp_path, others)
        pictures = [path.name for path in tmp_path.glob("*.png")]
        assert pictures == ["sweep.png" if former is None else "sweep-1.png"]
        return None if former is None else former.name

    few = rows(2, 0.1, 0.05)
    for more in (few, rows(2, 0.05, 0.2, 0.1), rows(3, 0.1, 0.05)):
        assert kept(few, more) is None
    for less in (rows(2, 0.1), rows(1, 0.1, 0.05), rows(2, 0.1, 0.05, name="l2")):
        assert kept(few, less) == "sweep-1.csv"
    for text in (b"", b"lr\n", b"lr,runs,diverged\n0.1,none,0\n", b"\xff"):
        assert kept(text, few) == "sweep-1.csv"
    write_table(tmp_path / "sweep.csv", few)
    assert sweeps._put_away(tmp_path, rows(2, 0.1)) == tmp_path / "sweep-2.csv"
    write_table(tmp_path / "sweep.csv", few)
    assert sweeps._put_away(tmp_path, rows(2, 0.1)) == tmp_path / "sweep-2.csv"


def test_the_current_folder_is_not_meant_by_an_empty_name(few, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("", None, 7):
        with pytest.raises(InputError, match=f"folder is {name!r}; name one"):
            sweep(name, {"lr": [0.1]}, few, epochs=1, hidden=6, jobs=1)
    assert not list(tmp_path.iterdir())


def test_a_run_that_diverges_ends_no_other(few, tmp_path):
    found = sweep(tmp_path, {"lr": [1e300, 0.1]}, few, epochs=1, hidden=(6, 5), jobs=1)
    assert found.runs[0].diverged.startswith("the training diverged in epoch 1")
    assert [(row.runs, row.diverged) for row in found.rows] == [(0, 1), (1, 0)]
    with open(tmp_path / "sweep.csv", newline="") as file:
        assert [row["test_loss_mean"] != "" for row in csv.DictReader(file)] == [False, True]


def test_a_run_that_diverged_is_not_tried_again(few, tmp_path, monkeypatch, capsys):
    settings = {"hidden": (6, 5), "jobs": 1}
    over = {"lr": [1e300, 0.1]}
    first = sweep(tmp_path, over, few, epochs=2, **settings)
    table = (tmp_path / "sweep.csv").read_bytes()
    describe(tmp_path / "lr=1e+300" / "run.json")
    assert f"ended          {first.runs[0].diverged}\n" in capsys.readouterr().out
    trained = []
    real = sweeps._train
    monkeypatch.setattr(sweeps, "_train", lambda *a: (trained.append(a[2].name), real(*a)))
    again = sweep(tmp_path, over, few, epochs=2, **settings)
    assert trained == []
    assert again.runs[0].diverged == first.runs[0].diverged
    assert (tmp_path / "sweep.csv").read_bytes() == table
    more = sweep(tmp_path, over, few, epochs=3, **settings)
    assert trained == ["lr=0.1"]
    assert [(row.runs, row.diverged) for row in more.rows] == [(0, 1), (1, 0)]
    with pytest.raises(InputError, match="its diverged is 7; use an undamaged file"):
        records.parse({**receipt(tmp_path / "lr=1e+300"), "diverged": 7})


def test_an_interruption_is_told_once(tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run_all", interrupted)
    assert ran("--out", str(tmp_path / "s"), "--lr", "0.1") == 130
    err = capsys.readouterr().err
    assert err == (f"Interrupted; the same command goes on, as long as --out is {tmp_path / 's'}\n")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="processes there have no parent")
def test_processes_of_a_sweep_that_was_killed_end_and_it_goes_on(tmp_path):
    import_or_skip("joblib")
    out = tmp_path / "s"
    options = ["--hidden", "20", "--lr", "0.1", "--lr", "0.05", "--jobs", "2", "--out", str(out)]
    arguments = [sys.executable, "-m", "backendmlp", "sweep", "--epochs", "5000", *options]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(arguments, **quiet) as sweeper:
        until = time.monotonic() + 100
        while len(list(out.glob("*/checkpoint.safetensors"))) < 2:
            assert time.monotonic() < until
            time.sleep(0.1)
        workers = psutil.Process(sweeper.pid).children(recursive=True)
        sweeper.kill()
    assert len(workers) >= 2
    _, alive = psutil.wait_procs(workers, timeout=180)
    assert alive == []
    for name in ("lr=0.1", "lr=0.05"):
        resumed = resume_run(out / name, should_stop=lambda: True)
        assert not resumed.finished


_LATE = """if True:
    import os, pathlib, sys, time

    class Late:
        def find_spec(self, name, path=None, target=None):
            if name == "backendmlp.sweeps.sweep":
                parent = os.getppid()
                pathlib.Path(__file__).with_name(f"{os.getpid()}.begins").touch()
                while os.getppid() == parent:
                    time.sleep(0.01)

    if any("popen_loky" in argument for argument in sys.orig_argv):
        sys.meta_path.insert(0, Late())
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="processes there have no parent")
def test_processes_that_a_sweep_killed_early_has_barely_begun_end_too(tmp_path):
    """They find their parent gone when they import the library, before they are given a run."""
    import_or_skip("joblib")
    (tmp_path / "sitecustomize.py").write_text(_LATE)
    options = ["--epochs", "5000", "--seeds", "4", "--jobs", "2", "--out", str(tmp_path / "s")]
    with subprocess.Popen(
        [sys.executable, "-m", "backendmlp", "sweep", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    ) as sweeper:
        until = time.monotonic() + 100
        while len(list(tmp_path.glob("*.begins"))) < 2:
            assert time.monotonic() < until
            time.sleep(0.02)
        workers = psutil.Process(sweeper.pid).children(recursive=True)
        sweeper.kill()
    _, alive = psutil.wait_procs(workers, timeout=180)
    for process in alive:
        process.kill()
    assert alive == []


def test_who_is_orphaned(monkeypatch):
    """A process that was started for the sweep: neither the one that asks, nor a cluster's."""

    class Parent:
        def __init__(self, pid: int, alive: bool | None) -> None:
            self.pid, self.alive = pid, alive

        def is_alive(self) -> bool:
            if self.alive is None:
                raise ValueError("Invalid file object: None")
            return self.alive

    work = sweeps._Work(7, None, None, "numpy", None, False)
    for parent, number, orphaned in (
        (None, 1, False),  # the process that asks, whose own parent is gone
        (Parent(8, False), 1, False),  # a worker of Dask's without its nanny
        (Parent(7, True), 9, False),  # which a fork server has started
        (Parent(7, False), 9, True),
        (Parent(7, None), 7, False),  # of loky's
        (Parent(7, None), 1, True),
    ):
        monkeypatch.setattr(sweeps.multiprocessing, "parent_process", lambda parent=parent: parent)
        monkeypatch.setattr(sweeps.os, "getppid", lambda number=number: number)
        assert sweeps._orphaned(work) is orphaned


def test_warnings_are_told_by_the_run_and_of_data_once(few, tmp_path):
    dark = backendmlp.Dataset(
        "dark", "made here", few.train_images // 255, few.train_labels,
        few.test_images, few.test_labels,
    )  # fmt: skip
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        sweep(tmp_path, {"seed": [1, 2]}, dark, epochs=1, hidden=6, jobs=1)
    texts = [str(entry.message) for entry in heard]
    assert texts
    assert len(set(texts)) == len(texts)


def test_rows_without_runs_have_no_spread():
    one = Row({}, {"test_loss": [1.0]}, 0)
    assert one.spread("test_loss") is None
    assert one.mean("test_accuracy") is None
    assert deciding([Row({}, {}, 3)]) is None
    assert rows_of([]) == []


def test_without_joblib_one_run_at_a_time(few, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sweeps.importlib.util, "find_spec", lambda name: None)
    assert len(sweep(tmp_path, OVER, few, epochs=1, hidden=4).runs) == 4
    with pytest.raises(InputError) as error:
        sweep(tmp_path, OVER, few, epochs=1, hidden=4, jobs=2)
    assert str(error.value) == (
        "the package 'joblib' is not installed; install it with: pip install 'joblib>=1.3', "
        "or leave jobs= out to train one run at a time"
    )
    assert ran("--out", str(tmp_path / "s"), "--seeds", "2", "--jobs", "2") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "or leave --jobs out to train one run at a time" in said
    with pytest.raises(InputError, match="jobs is 0; give a whole number above zero"):
        sweep(tmp_path, OVER, few, jobs=0)


def test_every_choice_can_be_given_again_on_the_command_line():
    varied = {option.name: option for option in cli.commands["sweep"].params}
    for option in cli.commands["train"].params:
        if option.name in {"hidden", "lr", "seed", "class_weight", "optimizer"}:
            assert varied[option.name].multiple
            assert varied[option.name].help == option.help


def ran(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["sweep", *arguments])
    return end.value.code


def test_the_command_line_says_what_each_kind_came_to(tmp_path, capsys):
    out = str(tmp_path / "s")
    options = ["--out", out, "--epochs", "1", "--hidden", "9", "--hidden", "8,7", "--jobs", "1"]
    assert ran(*options, "--seeds", "2", "--seed", "7") in (0, None)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("   1  hidden=9_seed=7  test accuracy ")
    kinds = [line for line in lines if "(2 runs)" in line]
    assert {line.partition("  ")[0].strip() for line in kinds} == {"hidden 9", "hidden 8-7"}
    assert all(" ± " in line for line in kinds)
    scores = [float(line.partition("accuracy ")[2].partition("%")[0]) for line in kinds]
    assert scores == sorted(scores, reverse=True)
    assert lines[-2] == f"written to {Path(out) / 'sweep.csv'}"
    assert (tmp_path / "s" / "sweep.png").read_bytes().startswith(b"\x89PNG")
    receipt = json.loads((tmp_path / "s" / "hidden=8-7_seed=8" / "run.json").read_text())
    assert receipt["config"]["seed"] == 8


def test_the_best_kind_is_printed_first_and_what_diverged_last(capsys):
    found = {"lost": [], "bad": [-0.5], "nought": [0.0], "good": [0.5, 0.5]}
    rows = [Row({"loss": kind}, {"test_r2": r2} if r2 else {}, 1) for kind, r2 in found.items()]
    command._print_rows(rows)
    assert capsys.readouterr().out.splitlines() == [
        "loss good    test R2 0.5000  (2 runs, 1 diverged)",
        "loss nought  test R2 0.0000  (1 run, 1 diverged)",
        "loss bad     test R2 -0.5000  (1 run, 1 diverged)",
        "loss lost    (1 diverged)",
    ]
    command._print_rows([Row({}, {"test_accuracy": [0.5]}, 0)])
    assert capsys.readouterr().out == "all  test accuracy 50.00%  (1 run)\n"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--seeds", "0"], "--seeds is 0; give a number above zero"),
        (["--seeds", "2", "--seed", "1", "--seed", "2"], "--seeds counts 2 on from one --seed"),
        (["--lr", "0.1", "--lr", "0.1"], "the run lr=0.1 is asked for twice"),
    ],
)
def test_mistakes_are_told_in_a_sentence(tmp_path, capsys, options, sentence):
    assert ran("--out", str(tmp_path / "s"), "--quiet", *options) == 2
    assert capsys.readouterr().err.startswith(f"Error: {sentence}")
    assert not (tmp_path / "s").exists()


def test_a_picture_has_a_line_for_each_kind(few, tmp_path):
    pytest.importorskip("matplotlib")
    from backendmlp.plots import sweep_figure

    found = sweep(tmp_path, OVER, few, epochs=1, hidden=4, jobs=1)
    axes = sweep_figure(found.rows).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert sorted(names) == ["lr 0.05", "lr 0.1"]
    assert "diverged" not in axes.figure.get_supxlabel()
    assert axes.get_xlabel() == "test accuracy in %"
    with pytest.raises(InputError, match="every run of the sweep diverged"):
        sweep_figure([Row({"lr": 1.0}, {}, 2)])


def _pictured(*found):
    """The axes of a picture of kinds, each with so many ``found`` R squared and diverged runs."""
    pytest.importorskip("matplotlib")
    from backendmlp.plots import sweep_figure

    kinds = [
        Row({"lr": float(i)}, {"test_r2": r2} if r2 else {}, lost)
        for i, (r2, lost) in enumerate(found)
    ]
    return sweep_figure(kinds).axes[0]


def test_a_picture_has_a_title_and_room_above_and_below_its_lines():
    axes = _pictured(([0.8, 0.9], 0), ([0.7, 0.9], 0))
    assert axes.get_ylim() == (1.5, -0.5)
    title = axes.figure.get_suptitle()
    assert title == "Test R² of 2 kinds of runs, the best on top"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([[0.8], [0.7]], "diamonds: one run of each kind"),
        ([[0.8, 0.9], [0.7, 0.6]], "diamonds: means, with one standard deviation; dots: runs"),
        ([[0.8, 0.9], [0.7]], "one standard deviation where there are several runs; dots: runs"),
    ],
)
def test_a_picture_explains_the_marks_that_it_has(found, said):
    assert _pictured(*((r2, 0) for r2 in found)).figure.get_supxlabel().endswith(said)


def test_lost_runs_are_marked_in_a_picture_and_leave_the_others_their_scale():
    axes = _pictured(([0.8, 0.9], 0), ([-253.0, 0.85], 1), ([-1e300] * 2, 0), ([], 2))
    low, high = axes.get_xlim()
    assert 0.7 < low < 0.8 < 0.9 < high < 1
    arrows = [line.get_ydata()[0] for line in axes.lines if line.get_marker() == "<"]
    assert arrows == [1, 2]
    numbers = [text.get_text() for text in axes.texts]
    assert numbers[1:] == ["-126.0750 ± 179.4991, 1 diverged", "-1e+300", "2 diverged"]
    said = axes.figure.get_supxlabel()
    assert "arrows: runs with R² below -1, which is off the scale" in said
    assert said.endswith("\n3 runs diverged and are left out")


def test_a_picture_of_lost_runs_alone_shows_them():
    axes = _pictured(([-3.0, -4.0], 0), ([-5.0], 1))
    assert axes.get_xlim()[0] < -5 < -3 < axes.get_xlim()[1]
    assert "arrows" not in axes.figure.get_supxlabel()
    assert axes.figure.get_supxlabel().endswith("\n1 run diverged and is left out")


def test_kinds_are_compared_by_what_all_of_them_have(few, tmp_path):
    pytest.importorskip("matplotlib")
    from backendmlp.plots import sweep_figure

    over = {"validation_split": [0.0, 0.3], "lr": [0.1, 1e300]}
    found = sweep(tmp_path, over, few, epochs=1, hidden=4, jobs=1)
    assert deciding(found.rows) == "test_accuracy"
    assert sweep_figure(found.rows).axes[0].get_xlabel() == "test accuracy in %"


def test_a_table_reads_back_exactly(tmp_path):
    value = 0.1 + 0.2
    write_table(tmp_path / "t.csv", [Row({"hidden": (3, 2)}, {"test_r2": [value]}, 0)])
    text = (tmp_path / "t.csv").read_text()
    assert text == f'hidden,runs,diverged,test_r2_mean,test_r2_spread\n"3,2",1,0,{value!r},\n'

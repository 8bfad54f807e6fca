"""The benchmark's arithmetic on made-up figures, and one very small real run."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import import_or_skip
from kernels import on_cpu
from test_cupy_path import python

pytest.importorskip("threadpoolctl")
SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
sys.path.insert(0, str(SCRIPTS))

import benchmark  # noqa: E402
from benchmarks import device, estimators, goals, plots, ranks, report  # noqa: E402
from benchmarks.classifiers import Ours, Theirs  # noqa: E402
from benchmarks.contestants import BEFORE, ENTRIES, ESTIMATORS, ON_DEVICE, chosen  # noqa: E402
from benchmarks.goals import Verdict  # noqa: E402
from benchmarks.profiling import profile  # noqa: E402
from benchmarks.rounds import AbsentError, Result, Worker, compete  # noqa: E402
from benchmarks.task import (  # noqa: E402
    DISCIPLINES,
    Contestant,
    Discipline,
    Task,
    batches,
    outputs,
    sized,
    store,
)

from backendmlp.steps import compiled  # noqa: E402

SGD, MOMENTUM, ADAM = (DISCIPLINES[name] for name in ("sgd", "momentum", "adam"))
SMALL = {
    "sgd": replace(SGD, hidden=(20,)),
    "momentum": replace(MOMENTUM, hidden=(20,)),
    "adam": replace(ADAM, hidden=(24, 12)),
}


def result(
    key: str,
    seconds: list[float],
    accuracies: list[float] | None = None,
    losses: list[float] | None = None,
) -> Result:
    return Result(key, 1.0, seconds, accuracies or [], losses or [])


@pytest.fixture
def results() -> dict[str, Result]:
    return {
        "products-float32": result("products-float32", [0.10, 0.10, 0.30]),
        "ours-native-float32": result("ours-native-float32", [0.12, 0.12, 0.36], [0.70, 0.80]),
        "jax": result("jax", [0.15, 0.10, 0.40], [0.80, 0.70]),
    }


def test_the_ratio_is_of_medians_and_the_paired_one_the_median_of_ratios() -> None:
    a, b = [1.0, 2.0, 30.0], [2.0, 1.0, 10.0]
    assert goals.ratio(a, b) == 1.0
    assert goals.paired_ratio(a, b) == 2.0
    with pytest.raises(ValueError, match="shorter"):
        goals.paired_ratio(a, b[:2])


def test_goals_are_met_missed_or_not_measured(results: dict[str, Result]) -> None:
    verdicts = goals.ratio_verdicts({(SGD, 64): results, (SGD, 256): results})
    by_goal = {verdict.goal: verdict for verdict in verdicts}
    jax = by_goal["batch 64, hidden 100, sgd: backendmlp native float32 / JAX jit and scan, optax"]
    assert jax.figure == pytest.approx(0.8)
    assert jax.met
    torch = by_goal["batch 256, hidden 100, sgd: backendmlp native float32 / PyTorch eager"]
    assert torch.figure is None
    assert torch.met is None
    # The notebook's goal is for batch 64 alone.
    assert [v.goal[:9] for v in verdicts if v.goal.endswith("notebook")] == ["batch 64,"]


def limits(discipline: Discipline, size: int) -> dict[tuple[str, str], float]:
    """By its two sides, each goal of a cell that speaks of no GPU and of nothing before."""
    return {
        (goal.ours, goal.peer): goal.limit
        for goal in goals.RATIO_GOALS
        if goal.applies(discipline, size) and "cupy" not in goal.ours and goal.peer not in BEFORE
    }


@pytest.mark.parametrize("discipline", [MOMENTUM, ADAM])
def test_depth_and_optimisers_have_goals_of_their_own(discipline: Discipline) -> None:
    native, bitwise = "ours-native-float32", "ours-bitwise-float64"
    everywhere = {
        (native, "jax"): 1.0,
        (native, "products-float32"): 1.3,
        (bitwise, "sklearn"): 1.0,
        (bitwise, "pass-float64"): 1.4,
    }
    assert limits(discipline, 256) == everywhere
    assert limits(discipline, 64) == {**everywhere, (native, "torch"): 0.5}
    # Of other networks nothing was asked but to be as fast as JAX.
    assert limits(replace(discipline, hidden=(7,)), 64) == {(native, "jax"): 1.0}


def test_what_was_before_is_a_goal_only_where_it_was_measured(results: dict[str, Result]) -> None:
    results["before-ours-native-float32"] = replace(results["ours-native-float32"])
    verdicts = goals.ratio_verdicts({(SGD, 64): results})
    (before,) = (verdict for verdict in verdicts if "before" in verdict.goal)
    assert before.figure == 1.0
    assert before.met


def test_predictions_are_held_beside_the_faster_peer() -> None:
    found = {key: result(key, []) for key in ("ours-native-float32", "torch", "sklearn")}
    for key, seconds in zip(found, (0.3, 0.2, 0.4), strict=True):
        found[key].predictions = {1: [seconds, seconds, 9.0], 100: [seconds]}
    del found["sklearn"].predictions[100]
    native, *others = goals.prediction_verdicts({(100,): found})
    assert native.figure == pytest.approx(1.5)
    assert native.limit == 1.0
    assert [verdict.met for verdict in others] == [None] * 5  # not both peers, or not ours
    assert [verdict.limit for verdict in others] == [1.0, 1.0, 2.0, 2.0, 2.0]
    assert goals.prediction_verdicts({(256, 128): found}) == []
    assert "300.000 ms (1.50)" in report.prediction_table(found)


def test_a_figure_at_its_limit_is_met_and_nan_never() -> None:
    assert Verdict("", 1.0, 1.0).met
    assert not Verdict("", 1.01, 1.0).met
    assert not Verdict("", float("nan"), 1.0).met


def test_growth_memory_and_start_up_have_their_limits() -> None:
    (growth,) = goals.growth_verdicts({"ours-native-float32": {6000: 1.0, 60_000: 1.05}})
    assert growth.figure == pytest.approx(0.05)
    (memory,) = goals.memory_verdicts({"native": 150.0}, 47_040_000)
    assert memory.limit == pytest.approx(167.04)
    start = goals.startup_verdicts({"import numpy": 0.1, "import backendmlp": 0.12})
    assert [v.figure for v in start] == [pytest.approx(1.2), None, None]


def test_a_contestant_that_learns_something_else_is_flagged(results: dict[str, Result]) -> None:
    assert goals.off(results) == {}
    results["numpy"] = result("numpy", [0.1] * 3, [0.70, 0.70])
    assert list(goals.off(results)) == ["numpy"]
    assert "WRONG: plain NumPy loop is -5.00 points off" in report.agreement_text(results)
    results["numpy"] = result("numpy", [0.1] * 3, [float("nan")])
    assert "numpy" in goals.off({key: results[key] for key in ("jax", "numpy")})


def test_so_is_one_with_the_accuracy_and_not_the_loss() -> None:
    found = {key: result(key, [0.1], [0.8], [loss]) for key, loss in zip(
        ("ours-native-float32", "jax", "torch"), (0.5, 0.54, 0.62), strict=True)}  # fmt: skip
    assert goals.off(found) == {"torch": "+14.8 % off the median loss"}


def test_the_tables_line_up(results: dict[str, Result]) -> None:
    head, *rows = report.table(results).splitlines()
    assert [row.split()[-2:] for row in rows[1:]] == [["75.00", "%"], ["75.00", "%"]]
    results["jax"].losses.append(0.5)
    assert report.table(results).splitlines()[-1].endswith("75.00 %  0.5000")
    assert "1.20" in rows[1]
    assert "0.1200-0.3600" in rows[1]
    assert head.index("accuracy") + len("accuracy") == len(rows[1])
    assert "/ JAX jit and scan" in report.ratio_table(results)
    assert report.checklist([Verdict("small", 2.0, 1.0)]).splitlines()[1].split() == [
        "NO", "2", "1", "small",
    ]  # fmt: skip


def test_the_pictures_are_drawn(results: dict[str, Result], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    cells = {(SGD, 64): results, (SGD, 256): results, (ADAM, 64): results}
    plots.plot_ratios(cells, tmp_path / "ratios.png")
    times = {6000: 2e-6, 60_000: 2.1e-6}
    plots.plot_growth({"ours-native-float32": times}, tmp_path / "growth.png")
    for name in ("ratios.png", "growth.png"):
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"


def test_the_gpu_peers_come_with_a_gpu_backend() -> None:
    assert "torch-graph" not in chosen(())
    assert {"torch-graph", "ours-bitwise-float64-cupy"} <= set(chosen(("cupy",)))
    everyone = set(chosen(("torch", "cupy", "torch-cuda"), before=True))
    assert everyone | set(ON_DEVICE) | set(ESTIMATORS) | {"ours-ranks"} == set(ENTRIES)


def test_the_cells_of_a_device_and_the_epochs_of_a_turn() -> None:
    first, second, *others = device.cells([], ())
    assert (first[0].hidden, first[1]) == ((100,), 64)
    assert (second[0].hidden, second[1]) == ((1024,), 64)
    assert len(others) == 6
    assert device.cells([(20,)], (8,)) == [(replace(SGD, hidden=(20,)), 8)]
    found = [device.epochs(60_000, size) for size in (64, 256, 1024, 8192)]
    assert found == [1, 2, 7, 16]


def test_the_table_of_a_device_is_in_microseconds_and_beside_its_peers() -> None:
    found = {
        "device-native-kernels": replace(result("", [0.5, 0.4, 0.7], [], [0.25]), steps="kernels"),
        "torch-gpu": result("torch-gpu", [1.0, 1.0, 4.0]),
    }
    head, ours, peer = report.device_table(found, 100_000).splitlines()
    assert head.split() == ["by", "us", "a", "step", "min-max", "/", "eager", "loss"]
    assert ours.split()[-5:] == ["kernels", "5.00", "4.00-7.00", "0.500", "0.2500"]
    assert peer.split()[-1] == "1.000"


def test_bitwise_steps_of_other_bits_are_found() -> None:
    keys = "device-bitwise-kernels", "device-bitwise-apart", "device-bitwise-fit", "torch-gpu"
    losses = [0.5, 0.25], [0.5, 0.25], [], [0.5, 0.2500001]
    found = {k: result(k, [], losses=list(v)) for k, v in zip(keys, losses, strict=True)}
    assert device.of_other_bits(found) == []
    found["device-bitwise-apart"].losses[1] = 0.25 + 2.0**-54
    assert device.of_other_bits(found) == ["device-bitwise-apart"]


def test_threads_are_compared_with_one(results: dict[str, Result]) -> None:
    found = {
        "ours-native-float32 1": result("", [0.4]),
        "ours-native-float32 2": result("", [0.2]),
    }
    lines = report.scaling_table(found, 1000).splitlines()
    assert [line.split()[-4:] for line in lines[1:]] == [
        ["1", "0.4000", "400.0", "1.00"], ["2", "0.2000", "200.0", "2.00"],
    ]  # fmt: skip


def test_an_allreduce_takes_rounds_and_bytes() -> None:
    network = ranks.Network("", 1e-6, 1e9)
    assert network.allreduce(2, 0) == network.allreduce(8, 0) / 3 == 1e-6
    # Twice 7/8 of the bytes, and twice the rounds; all of them in each round where they are few.
    assert network.allreduce(8, 1e6) == pytest.approx(6e-6 + 1.75e-3)
    assert network.allreduce(8, 1e3) == pytest.approx(3e-6 + 3e-6)


def test_what_to_expect_of_more_ranks() -> None:
    """Ranks that lose nothing but what every one of them does again, and what meetings take."""
    work = ranks.work({64: 0.01 * 10 + 6.4, 32: 0.01 * 20 + 6.4}, 640)
    assert (work.step, work.row) == (pytest.approx(0.01), pytest.approx(0.01))
    fast = ranks.Network("", 0.0, 1e300)
    found = ranks.expected(ranks.Work(0.0, 1e-6), fast, [8.0])
    assert set(found) == {8, 64, 1024}
    assert all(found[n][65_536] == pytest.approx(1.0) for n in found)
    assert found[1024][64] == pytest.approx(64 / 1024)
    # 8 ranks with 8 rows each, a millisecond a row, and a meeting of three rounds.
    slow = ranks.Network("", 1e-3, 1e300)
    assert ranks.efficiency(ranks.Work(0, 1e-3), slow, [8.0], 8, 64) == pytest.approx(64 / 88)
    assert ranks.work({64: 0.5}, 100) == ranks.Work(0.0, 0.005)
    row = ranks.expected_table({8: dict.fromkeys(ranks.LARGE, 0.08)}).splitlines()[1]
    assert row.split() == ["8", *["8", "%"] * 4]


def on_ranks(losses: list[float]) -> dict[str, Result]:
    told = {f"allreduce {size}": {"seconds": 1e-6 + size / 1e9} for size in ranks.SIZES}
    traffic = {"largest": [10, 4220], "total": [10, 8000]}
    ranked = replace(result("", [0.3], None, losses), measured={"traffic": traffic, **told})
    return {
        "threads 1": result("", [0.4], None, [0.5]),
        "threads 2": result("", [0.2], None, [0.5]),
        "ranks 2": ranked,
    }


def test_ranks_are_compared_with_as_many_threads() -> None:
    found = on_ranks([0.5])
    lines = [line.split() for line in ranks.table(found).splitlines()[1:]]
    assert [line[-1] for line in lines] == ["0.4000-0.4000", "0.2000-0.2000", "1.50"]
    assert ranks.of_other_bits(found) == []
    assert ranks.of_other_bits(on_ranks([0.5 + 2.0**-53])) == ["ranks 2"]
    assert ranks.traffic_text(found, 10).splitlines()[0] == (
        "ranks 2: largest 10 times an epoch (1.00 a step, 422 bytes each)"
    )
    assert ranks.meetings(found) == [422, 800]
    (first, second) = ranks.verdicts({1024: found})
    assert (first.met, second.met) == (False, None)


def test_the_network_of_this_machine_is_what_two_ranks_measured() -> None:
    network = ranks.measured(on_ranks([0.5]))
    assert network is not None
    assert network.latency == pytest.approx(1e-6, rel=0.01)
    assert network.bandwidth == pytest.approx(1e9, rel=0.01)
    assert ranks.measured({}) is None


@pytest.mark.slow
def test_a_small_real_run_on_ranks(tmp_path: Path) -> None:
    import_or_skip("mpi4py")
    output, found = benchmarked(tmp_path, "--ranks")
    (cell,) = found["cells"]
    assert set(cell["results"]) == {f"threads {n}" for n in (1, 2, 4)} | {"ranks 2", "ranks 4"}
    losses = [told["losses"] for told in cell["results"].values()]
    assert losses.count(losses[0]) == 5
    for name in ("ranks 2", "ranks 4"):
        traffic = cell["results"][name]["measured"]["traffic"]
        assert traffic["largest"] == [5, 5 * 2 * 211]
        assert traffic["total"] == [5, 5 * 8 * 79_510]
    assert set(found["expected"]) == {"this machine's memory", "Red Storm, as published"}
    assert "WRONG" not in output
    assert "1,024" in output


def test_batches_cover_every_image_once() -> None:
    assert batches(5, 2) == [slice(0, 2), slice(2, 4), slice(4, 5)]


def test_a_task_survives_the_way_to_its_process() -> None:
    task = Task("jax", "data", 256, ADAM, 2, checkout="elsewhere")
    assert Task.decode(task.encode()) == replace(task, checkout="")
    assert Task.decode(Task("", "").encode()) == Task("", "")
    # Older checkouts know neither disciplines nor what else is as usual.
    assert json.loads(Task("jax", "data").encode()) == {"contestant": "jax", "folder": "data"}


@pytest.fixture
def tiny(sample: Any, tmp_path: Path) -> Task:
    store(sized(sample, 300), tmp_path)
    return Task("", str(tmp_path), 64, SMALL["sgd"])


# scikit-learn adds Adam's epsilon beside a root that is not corrected for its bias.
_TOLERANCES = {("adam", "sklearn"): 2e-3, ("adam", "jax"): 1e-5}


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (name, key)
        for name, discipline in SMALL.items()
        for key in ("notebook", "numpy", "torch", "jax", "sklearn")
        if ENTRIES[key].takes_part(discipline)
    ],
)
def test_from_one_start_and_order_everyone_reaches_one_end(
    sample: Any, tiny: Task, name: str, key: str
) -> None:
    """What makes the times comparable; each peer only where it is installed."""
    entry, task = ENTRIES[key], replace(tiny, discipline=SMALL[name])
    if not entry.installed:
        pytest.skip(f"{entry.package} is not installed")
    data = sized(sample, 300)
    ours = ENTRIES["ours-native-float64"].make(task, data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs are not ours to mend
        peer = entry.make(task, data)
        for contestant in (ours, peer):
            contestant.run()
            contestant.run()
    _same_weights(ours, peer, _TOLERANCES.get((name, key), 2e-6))


@pytest.fixture
def jax_as_it_was() -> Iterator[None]:
    """Contestants set what holds for all of their process."""
    jax = pytest.importorskip("jax")
    before = jax.config.jax_enable_x64
    yield
    jax.config.update("jax_enable_x64", before)


@pytest.mark.parametrize("optax", [True, False])
def test_jax_in_float64_and_without_optax_reaches_that_end_too(
    sample: Any, tiny: Task, optax: bool, monkeypatch: pytest.MonkeyPatch, jax_as_it_was: None
) -> None:
    if not optax:
        monkeypatch.setitem(sys.modules, "optax", None)
    elif not ENTRIES["jax"].installed:
        pytest.skip("optax is not installed")
    data, entry = sized(sample, 300), ENTRIES["jax-gpu-float64"]
    ours = ENTRIES["ours-native-float64"].make(tiny, data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = replace(entry, options={**entry.options, "device": "cpu"}).make(tiny, data)
        for contestant in (ours, peer):
            contestant.run()
            contestant.run()
    _same_weights(ours, peer, 1e-12)


def test_pytorch_in_float64_reaches_that_end_too(sample: Any, tiny: Task) -> None:
    if not ENTRIES["torch"].installed:
        pytest.skip("torch is not installed")
    data, entry = sized(sample, 300), ENTRIES["torch-gpu-float64"]
    ours = ENTRIES["ours-native-float64"].make(tiny, data)
    peer = replace(entry, options={**entry.options, "device": "cpu"}).make(tiny, data)
    for contestant in (ours, peer):
        contestant.run()
        contestant.run()
    _same_weights(ours, peer, 1e-12)


@pytest.mark.parametrize("name", SMALL)
def test_features_lead_where_pixels_lead(sample: Any, tiny: Task, name: str) -> None:
    data, task = sized(sample, 300), replace(tiny, discipline=SMALL[name])
    pixels, features = (
        ENTRIES[key].make(task, data)
        for key in ("ours-bitwise-float64", "ours-bitwise-float64-features")
    )
    pixels.run()
    features.run()
    _same_weights(pixels, features, 1e-5)


def _same_weights(ours: Contestant, peer: Contestant, tolerance: float) -> None:
    a, b = ours.weights(), peer.weights()
    assert a is not None
    assert b is not None
    for name in a:
        np.testing.assert_allclose(b[name], a[name], atol=tolerance, err_msg=name)
    measures, others = ours.measures(), peer.measures()
    assert measures["loss"] == pytest.approx(others["loss"], rel=tolerance)


@pytest.mark.parametrize("key", ["ours-bitwise-float64", "ours-native-float32", "torch", "sklearn"])
def test_predictions_are_those_of_the_network_that_was_trained(
    sample: Any, tiny: Task, key: str
) -> None:
    if not ENTRIES[key].installed:
        pytest.skip(f"{ENTRIES[key].package} is not installed")
    data = sized(sample, 300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        contestant = ENTRIES[key].make(tiny, data)
        contestant.run()
        found = contestant.predictor()(200)
    weights = contestant.weights()
    assert weights is not None
    expected = outputs(weights, data.images[:200] / 255.0).argmax(axis=1)
    assert (found == expected).mean() > 0.98  # but for ties


def test_the_products_are_those_of_every_layer(tiny: Task, sample: Any) -> None:
    task = replace(tiny, discipline=ADAM, batch_size=256)
    products: Any = ENTRIES["products-float64"].make(task, sized(sample, 300))
    whole, rest = products.steps
    assert list(whole) == [
        "X W1", "H1 W2", "H2 W3", "H2^T D3", "D3 W3^T", "H1^T D2", "D2 W2^T", "X^T D1",
    ]  # fmt: skip
    sizes = 784, 256, 128, 10
    assert [out.shape for _, _, out in whole.values()] == [
        (256, 256), (256, 128), (256, 10),
        (128, 10), (256, 128), (256, 128), (256, 256), (784, 256),
    ]  # fmt: skip
    assert rest["X W1"][0].shape == (300 - 256, sizes[0])
    products.run()
    np.testing.assert_array_equal(whole["X W1"][2], whole["X W1"][0] @ whole["X W1"][1])


@pytest.mark.parametrize(("name", "arrays"), [("sgd", 1), ("momentum", 2), ("adam", 3)])
def test_the_pass_writes_each_parameter_and_what_is_kept_for_it_once(
    sample: Any, tiny: Task, name: str, arrays: int
) -> None:
    discipline = DISCIPLINES[name]
    data = sized(sample, 300)
    passing: Any = ENTRIES["pass-float32"].make(replace(tiny, discipline=discipline), data)
    sizes = 784, *discipline.hidden, 10
    count = sum((rows + 1) * columns for rows, columns in pairwise(sizes))
    assert sum(change.size for change, _ in passing.pieces) == count
    assert {len(written) for _, written in passing.pieces} == {arrays}
    before = passing.weights_of[0].copy()
    passing.run()
    assert not np.array_equal(passing.weights_of[0], before)
    assert np.isfinite(passing.weights_of[0]).all()


def test_jax_compiles_nothing_after_the_warm_up(sample: Any, tiny: Task) -> None:
    """A compilation in the first timed round would count against a peer."""
    pytest.importorskip("jax")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer: Any = ENTRIES["jax"].make(tiny, sized(sample, 300))
        peer.run()
        compiled = peer.scan._cache_size()
        peer.run()
    assert peer.scan._cache_size() == compiled


@pytest.mark.slow
def test_a_profile_names_the_lines_of_steps_in_python(
    sample: Any, tiny: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "stepper", lambda *_: None)
    text = profile(tiny, sized(sample, 300), "native", "float32")
    assert "arithmetic.matmul(" in text
    assert "these and a pass" in text
    assert "its bare products" in text


@pytest.mark.parametrize(("numerics", "dtype"), [("native", "float32"), ("bitwise", "float64")])
def test_a_profile_names_the_phases_of_compiled_steps(
    sample: Any, tiny: Task, steps: Any, numerics: str, dtype: str
) -> None:
    text = profile(tiny, sized(sample, 300), numerics, dtype)
    for phase in steps.library.PHASES[:2]:
        assert phase in text
    assert "its bare products" in text


def test_absent_and_broken_contestants_are_told_apart(
    tiny: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setitem(ENTRIES, "nobody", replace(ENTRIES["jax"], package="no_such_package"))
    tasks = {
        "nobody": replace(tiny, contestant="nobody"),
        "numpy": replace(tiny, contestant="numpy", batch_size=0),
    }
    outcome = compete(tasks, 1, said.append)
    assert (list(outcome.absent), list(outcome.broken)) == (["nobody"], ["numpy"])
    assert outcome.results == {}
    assert [line.split(":")[0] for line in said] == ["LEFT OUT", "BROKEN"]


def test_a_contestant_goes_on_to_another_task_in_its_process(tiny: Task) -> None:
    task = replace(tiny, contestant="ours-native-float32")
    worker = Worker("ours", task)
    try:
        worker.run(2)
        process, first = worker.process.pid, worker.result
        worker.begin(replace(task, batch_size=100), limit=60.0)
        worker.run(1)
        assert (worker.process.pid, len(worker.result.seconds)) == (process, 1)
        assert worker.result is not first
    finally:
        worker.close()


def test_one_who_does_not_get_ready_in_time_is_left_out(tiny: Task) -> None:
    with pytest.raises(AbsentError, match=r"not ready within 0 s"):
        Worker("ours", replace(tiny, contestant="ours-native-float32"), limit=0.001)


@pytest.mark.slow
def test_a_small_race_on_a_stand_in_for_a_gpu(tmp_path: Path) -> None:
    """Which has no peers, and kernels where a processor can run them."""
    done = python(
        SCRIPTS / "benchmark.py", "--device", "cuda", "--quick", "--images", 128, "--rounds", 1,
        "--hidden", 8, "--hidden", 6, "--threads", 1, "--json", tmp_path / "figures.json",
        *(f"--only=device-bitwise-{name}" for name in ("definition", "fit", "scores", "tested")),
        "--only", "device-bitwise-scores-definition",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "figures.json").read_text())
    assert [cell["hidden"] for cell in found["cells"]] == [[8], [6]]
    for cell in found["cells"]:
        assert cell["steps"] == 2
        by = "kernels" if on_cpu.COMPILER else "definition"
        kinds = [result["steps"] for result in cell["results"]]
        assert kinds == ["definition", by, by, by, "definition"]
        assert all(result["seconds"][0] > 0 for result in cell["results"])
        assert cell["table"] in done.stdout
    assert found["left_out"] == found["broken"] == {}


def benchmarked(tmp_path: Path, *options: str) -> tuple[str, dict[str, Any]]:
    """What a small real run prints and writes."""
    file = tmp_path / "figures.json"
    arguments = ["--quick", "--images", "300", "--rounds", "2", "--threads", "1"]
    given = [*arguments, *options, "--json", str(file)]
    done = CliRunner().invoke(benchmark.main, given, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output, json.loads(file.read_text())


@pytest.mark.slow
def test_a_small_real_run(tmp_path: Path) -> None:
    output, found = benchmarked(
        tmp_path, "--discipline", "sgd", "--predict",
        "--only", "products-float32", "--only", "ours-native-float32",
    )  # fmt: skip
    assert "backendmlp native float32" in output
    (cell,) = found["cells"]
    products, ours = cell["results"]
    assert (products["key"], ours["key"]) == ("products-float32", "ours-native-float32")
    assert len(ours["seconds"]) == len(ours["accuracies"]) == len(ours["losses"]) == 2
    assert all(seconds > 0 for seconds in products["seconds"] + ours["seconds"])
    assert products["accuracies"] == []
    (predicted,) = found["predictions"]
    (native,) = predicted["results"]
    assert {count: len(seconds) for count, seconds in native["predictions"].items()} == {
        "1": 2, "100": 2, "300": 2,
    }  # fmt: skip


@pytest.mark.slow
def test_a_small_real_run_beside_another_checkout(tmp_path: Path) -> None:
    """Which is this one: its code runs in processes of its own all the same."""
    output, found = benchmarked(
        tmp_path, "--hidden", "24,12", "--hidden", "8", "--before", str(SCRIPTS.parent),
        "--only", "ours-native-float32", "--only", "before-ours-native-float32",
    )  # fmt: skip
    deep, plain = found["cells"]
    assert [r["key"] for r in deep["results"]] == ["ours-native-float32"]
    ours, before = plain["results"]
    assert before["key"] == "before-ours-native-float32"
    assert before["accuracies"] == ours["accuracies"]
    assert "before: backendmlp native float32" in output


def fitted(seconds: list[float], predictions: dict[int, list[float]]) -> dict[str, Result]:
    found = {}
    for number, key in enumerate(ESTIMATORS, 1):
        found[key] = result(key, [number * s for s in seconds], [0.9])
        found[key].predictions = {k: [number * s for s in v] for k, v in predictions.items()}
    return found


def test_both_classifiers_are_compared_round_by_round() -> None:
    results = fitted([1.0, 5.0, 2.0], {1: [0.1], 60: [1.0]})
    del results["estimator-native"].predictions[60]
    found = estimators.Found("rows", 60, results, results)
    figures = {verdict.goal: verdict.figure for verdict in found.verdicts()}
    assert figures["rows: fit: backendmlp native float32"] == pytest.approx(1 / 3)
    assert figures["rows: predict 60: backendmlp bitwise float64"] == pytest.approx(2 / 3)
    assert figures["rows: predict 60: backendmlp native float32"] is None
    lines = found.table().splitlines()
    assert [line.split("  ")[0] for line in lines[1:]] == [e.label for e in ESTIMATORS.values()]
    assert "(0.67)" in lines[2]
    assert "90.00 %" in lines[1]


def test_the_rows_of_classifiers_are_floats_of_one_scale(sample: Any) -> None:
    pytest.importorskip("sklearn")
    pictures, digits, like = estimators.sets(sample, 50, quick=True)
    assert (pictures.title, pictures.data.images.max()) == (
        f"{sample.name}, 50 x 784, 30 epochs",
        1,
    )
    assert len(digits.data.images) + len(digits.data.test_images) == 1797
    assert like.data.images.shape == (3750, 54)
    for found in (digits, like):
        assert found.data.images.dtype == np.float32
        assert np.abs(found.data.images.mean(axis=0)).max() < 1e-4
    assert like.data.classes == 7


@pytest.mark.filterwarnings("ignore:.*were clipped")
@pytest.mark.parametrize("maker", [Ours, Theirs])
def test_a_turn_is_a_whole_fit_of_as_many_passes(sample: Any, tmp_path: Path, maker: Any) -> None:
    pytest.importorskip("sklearn")
    task = Task("", str(tmp_path), 50, Discipline((8,), "adam", 0.001), passes=3)
    contestant = maker(task, sized(sample, 200), "float32")
    contestant.run()
    before = contestant.model
    contestant.run()
    assert contestant.model is not before
    assert contestant.model.n_iter_ == 3
    assert 0 <= contestant.measures()["accuracy"] <= 1
    assert contestant.predictor()(5).shape == (5,)


@pytest.mark.slow
def test_a_small_real_run_of_both_classifiers(tmp_path: Path) -> None:
    output, found = benchmarked(tmp_path, "--estimators")
    assert len(found["sets"]) == 3
    assert "like covertype" in output
    for one in found["sets"]:
        assert [fit["key"] for fit in one["fits"]] == list(ESTIMATORS)
        assert one["table"] in output


def test_hidden_layers_are_numbers() -> None:
    done = CliRunner().invoke(benchmark.main, ["--hidden", "100;50"])
    assert done.exit_code == 2
    assert "give numbers with commas between" in done.output

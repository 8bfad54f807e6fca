"""The benchmark's arithmetic on made-up figures, and one very small real run."""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("threadpoolctl")
SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
sys.path.insert(0, str(SCRIPTS))

import benchmark  # noqa: E402
from benchmarks import goals, plots, report  # noqa: E402
from benchmarks.contestants import ENTRIES, chosen  # noqa: E402
from benchmarks.goals import Verdict  # noqa: E402
from benchmarks.profiling import profile  # noqa: E402
from benchmarks.rounds import Result, compete  # noqa: E402
from benchmarks.task import Contestant, Task, batches, sized, store  # noqa: E402

from backendmlp.steps import compiled  # noqa: E402


def result(key: str, seconds: list[float], accuracies: list[float] | None = None) -> Result:
    return Result(key, 1.0, seconds, accuracies or [])


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
    verdicts = goals.ratio_verdicts({(100, 64): results, (100, 256): results})
    by_goal = {verdict.goal: verdict for verdict in verdicts}
    jax = by_goal["batch 64, hidden 100: backendmlp native float32 / JAX jit and scan"]
    assert jax.figure == pytest.approx(0.8)
    assert jax.met
    torch = by_goal["batch 256, hidden 100: backendmlp native float32 / PyTorch eager"]
    assert torch.figure is None
    assert torch.met is None
    # The notebook's goal is for batch 64 alone.
    assert [v.goal[:9] for v in verdicts if v.goal.endswith("notebook")] == ["batch 64,"]


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
    assert "WRONG: plain NumPy loop is -5.00 points off" in report.accuracy_text(results)
    results["numpy"] = result("numpy", [0.1] * 3, [float("nan")])
    assert "numpy" in goals.off({key: results[key] for key in ("jax", "numpy")})


def test_the_tables_line_up(results: dict[str, Result]) -> None:
    head, *rows = report.table(results).splitlines()
    assert [row.split()[-2:] for row in rows[1:]] == [["75.00", "%"], ["75.00", "%"]]
    assert "1.20" in rows[1]
    assert "0.1200-0.3600" in rows[1]
    assert head.index("accuracy") + len("accuracy") == len(rows[1])
    assert "/ JAX jit and scan" in report.ratio_table(results)
    assert report.checklist([Verdict("small", 2.0, 1.0)]).splitlines()[1].split() == [
        "NO", "2", "1", "small",
    ]  # fmt: skip


def test_the_pictures_are_drawn(results: dict[str, Result], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plots.plot_ratios({(100, 64): results, (100, 256): results}, tmp_path / "ratios.png")
    times = {6000: 2e-6, 60_000: 2.1e-6}
    plots.plot_growth({"ours-native-float32": times}, tmp_path / "growth.png")
    for name in ("ratios.png", "growth.png"):
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"


def test_the_gpu_peers_come_with_a_gpu_backend() -> None:
    assert "torch-graph" not in chosen(())
    assert {"torch-graph", "ours-bitwise-float64-cupy"} <= set(chosen(("cupy",)))
    assert set(chosen(("torch", "cupy", "torch-cuda"))) == set(ENTRIES)


def test_batches_cover_every_image_once() -> None:
    assert batches(5, 2) == [slice(0, 2), slice(2, 4), slice(4, 5)]


@pytest.fixture
def tiny(sample: Any, tmp_path: Path) -> Task:
    store(sized(sample, 300), tmp_path)
    return Task("", str(tmp_path), 64, 20)


@pytest.mark.parametrize("key", ["notebook", "numpy", "torch", "jax", "sklearn"])
def test_from_one_start_and_order_everyone_reaches_one_end(
    sample: Any, tiny: Task, key: str
) -> None:
    """What makes the times comparable; each peer only where it is installed."""
    if not ENTRIES[key].installed:
        pytest.skip(f"{ENTRIES[key].package} is not installed")
    data = sized(sample, 300)
    ours = ENTRIES["ours-native-float64"].make(tiny, data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs are not ours to mend
        peer = ENTRIES[key].make(tiny, data)
        for contestant in (ours, peer):
            contestant.run()
            contestant.run()
    _same_weights(ours, peer)


def _same_weights(ours: Contestant, peer: Contestant) -> None:
    a, b = ours.weights(), peer.weights()
    assert a is not None
    assert b is not None
    for name in a:
        np.testing.assert_allclose(b[name], a[name], atol=2e-6, err_msg=name)


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


def test_a_profile_names_the_lines_of_steps_in_python(
    sample: Any, tiny: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "available", lambda: False)
    text = profile(tiny, sized(sample, 300), "native", "float32")
    assert "arithmetic.matmul(" in text
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


def test_a_small_real_run(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    arguments = [
        "--quick", "--images", "300", "--rounds", "2", "--threads", "1",
        "--only", "products-float32", "--only", "ours-native-float32", "--json", str(file),
    ]  # fmt: skip
    done = CliRunner().invoke(benchmark.main, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "backendmlp native float32" in done.output
    found = json.loads(file.read_text())
    (cell,) = found["cells"]
    products, ours = cell["results"]
    assert (products["key"], ours["key"]) == ("products-float32", "ours-native-float32")
    assert len(ours["seconds"]) == len(ours["accuracies"]) == 2
    assert all(seconds > 0 for seconds in products["seconds"] + ours["seconds"])
    assert products["accuracies"] == []

"""What the README says is so."""

import re
from pathlib import Path

import pytest

from backendmlp import MLP, load_sample

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_ci_calls_the_test_command_to_the_letter():
    commands = re.findall(r"^    (python3 -m venv .*)$", README, re.MULTILINE)
    assert len(commands) == 2
    assert f"\n{commands[1]}\n" in (ROOT / ".ci/run").read_text(encoding="utf-8")


def test_the_example_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    known: dict = {}
    for example in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(compile(example, "README.md", "exec"), known)
    printed = capsys.readouterr().out.splitlines()
    assert re.fullmatch("[0-9a-f]{64}", printed[0])
    assert "Ankle boot" in printed[2]
    assert (tmp_path / "model.safetensors").exists()


def test_the_main_job_ends_with_the_digest_that_is_promised():
    data = load_sample()
    mlp = MLP().fit(data.train_images, data.train_labels)
    assert f"weights sha256 {mlp.history[-1].weights_sha256}\n" in README


@pytest.mark.parametrize(
    "name", sorted(path.name for path in (ROOT / "backendmlp").glob("[!_]*.py"))
)
def test_the_tree_names_every_file(name):
    assert f"`{name}`" in README or f"/{name}`" in README

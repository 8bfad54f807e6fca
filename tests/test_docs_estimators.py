"""The example in docs/estimators.md runs as it stands."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import import_or_skip

DOCS = Path(__file__).parents[1] / "docs" / "estimators.md"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*converge")
def test_the_first_example(tmp_path, monkeypatch, capsys):
    import_or_skip("sklearn")
    import_or_skip("onnx")
    monkeypatch.chdir(tmp_path)
    code = DOCS.read_text(encoding="utf-8").split("```python\n")[1].partition("```")[0]
    exec(compile(code, str(DOCS), "exec"), {})
    share, digest = capsys.readouterr().out.split()
    assert float(share[:-1]) > 96
    assert len(digest) == 64
    assert (tmp_path / "digits.onnx").stat().st_size > 0

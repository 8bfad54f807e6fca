"""One training at a time in a folder, also as Windows does it (by a stand-in)."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from backendmlp.errors import InputError
from backendmlp.runs import lock
from backendmlp.runs.lock import locked


def test_a_folder_is_held_once(tmp_path):
    with locked(tmp_path), pytest.raises(InputError, match="another training"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_on_windows_a_byte_of_the_descriptor_is_locked(monkeypatch):
    asked = []
    stand_in = SimpleNamespace(LK_NBLCK=2, locking=lambda *given: asked.append(given))
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", stand_in)
    lock._lock(7)
    assert asked == [(7, 2, 1)]

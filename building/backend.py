"""setuptools as the build backend (PEP 517), with a compiler from PyPI where there is none."""

from __future__ import annotations

from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403

from building import compiler


def get_requires_for_build_wheel(settings: Any = None) -> list[str]:
    return [*build_meta.get_requires_for_build_wheel(settings), *compiler.requirements()]


def get_requires_for_build_editable(settings: Any = None) -> list[str]:
    return [*build_meta.get_requires_for_build_editable(settings), *compiler.requirements()]

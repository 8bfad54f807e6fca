"""setuptools' commands, for a library that has nothing of Python's own in it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from setuptools import Extension
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

from building import compiler


class BuildLibrary(build_ext):
    """Makes ``libstep``, a plain shared library; where it cannot, the package goes without."""

    def get_ext_filename(self, fullname: str) -> str:
        return str(Path(*fullname.split("."))) + compiler.suffix()

    def build_extension(self, ext: Extension) -> None:
        if compiler.platform() == "any":
            return
        command = compiler.command()
        if command is None:
            raise CompileError("there is no C compiler, and ziglang is not installed")
        built = Path(self.get_ext_fullpath(ext.name))
        built.parent.mkdir(parents=True, exist_ok=True)
        try:
            compiler.link(
                command, ext.sources, str(built), ext.extra_compile_args, ext.extra_link_args
            )
        except (OSError, subprocess.CalledProcessError) as error:
            raise CompileError(str(error)) from error


class Wheel(bdist_wheel):
    """One wheel for all Pythons of a platform; for all platforms where it has no library."""

    def get_tag(self) -> tuple[str, str, str]:
        self.root_is_pure = not any(
            Path(path).exists() for path in self.get_finalized_command("build_ext").get_outputs()
        )
        if self.root_is_pure:
            return "py3", "none", "any"
        return "py3", "none", compiler.platform() or super().get_tag()[2]

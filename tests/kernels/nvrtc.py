"""NVIDIA's compiler of the kernels, which needs no GPU: pip install nvidia-cuda-nvrtc."""

from __future__ import annotations

import ctypes
import importlib.util
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# As backendmlp/backend.py has them, and what CuPy adds.
OPTIONS = ("--std=c++17", "--fmad=false", "-default-device", "-ftz=true")
_USED = re.compile(
    r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
    r"(\d+) bytes spill loads.*?Used (\d+) registers",
    re.DOTALL,
)


@dataclass(frozen=True)
class Compiled:
    """``used`` has of each kernel: bytes of stack, of stores and loads of spills; registers."""

    ptx: str
    cubin: bytes
    used: dict[str, tuple[int, int, int, int]]
    log: str


def found() -> Path | None:
    """The compiler's library."""
    spec = importlib.util.find_spec("nvidia")
    folders = [] if spec is None else spec.submodule_search_locations or []
    files = (file for folder in folders for file in Path(folder).rglob("libnvrtc.so.*"))
    return next((file for file in files if "alt" not in file.name), None)


@cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(str(found()))


def compiled(source: str, architecture: str, options: tuple[str, ...]) -> Compiled:
    """What it makes of ``source`` for an architecture such as ``sm_90``."""
    library, program = _library(), ctypes.c_void_p()
    name, text = b"step.cu", source.encode()
    assert not library.nvrtcCreateProgram(ctypes.byref(program), text, name, 0, None, None)
    given = (f"--gpu-architecture={architecture}", *OPTIONS, "--ptxas-options=-v", *options)
    array = (ctypes.c_char_p * len(given))(*(x.encode() for x in given))
    failed = library.nvrtcCompileProgram(program, len(given), array)
    log = _text(program, "ProgramLog")
    assert not failed, log[:4000]
    ptx, cubin = _text(program, "PTX"), _bytes(program, "CUBIN")
    library.nvrtcDestroyProgram(ctypes.byref(program))
    used = {x[1]: tuple(int(x[i]) for i in range(2, 6)) for x in _USED.finditer(log)}
    return Compiled(ptx, cubin, used, log)


def _text(program: ctypes.c_void_p, what: str) -> str:
    return _bytes(program, what).rstrip(b"\0").decode()


def _bytes(program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    assert not getattr(_library(), f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    content = ctypes.create_string_buffer(size.value)
    assert not getattr(_library(), f"nvrtcGet{what}")(program, content)
    return content.raw

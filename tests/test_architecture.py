"""What imports what: libraries by name in one file, and nothing heavy before it is asked for."""

from __future__ import annotations

import ast
import graphlib
import io
import os
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

import backendmlp

PACKAGE = Path(backendmlp.__file__).parent
LIBRARIES = ("cupy", "torch", "jax", "array_api_strict")
HEAVY = ("cupy", "torch", "jax", "array_api_strict", "matplotlib", "pooch", "PIL", "tqdm", "click")
HEAVY += ("sklearn", "onnx", "mpi4py", "joblib")


def python(code: str, *path: Path) -> str:
    """What ``code`` prints in a fresh interpreter that warns of nothing."""
    before = filter(None, [os.environ.get("PYTHONPATH")])  # where other packages may lie
    first = os.pathsep.join([*map(str, (*path, PACKAGE.parent)), *before])
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": first},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


def test_importing_the_package_imports_little():
    loaded = python("import sys, backendmlp; print(*sys.modules)").split()
    assert "backendmlp" in loaded
    assert set(HEAVY) & {name.partition(".")[0] for name in loaded} == set()


def test_training_on_numpy_imports_no_other_library():
    code = """
import sys, numpy, backendmlp
images, labels = numpy.zeros((4, 9), numpy.uint8), numpy.arange(4)
backendmlp.MLP(2, epochs=1).fit(images, labels).predict(images)
print(*sys.modules)
"""
    loaded = {name.partition(".")[0] for name in python(code).split()}
    assert set(HEAVY) & loaded == set()


@pytest.mark.parametrize("before", ["pass", "import backendmlp.mlp, backendmlp.training.epochs"])
@pytest.mark.parametrize("names", ["backendmlp.__all__", "reversed(backendmlp.__all__)"])
def test_public_names_stay_what_they_are(names, before):
    """Whatever was imported before: a submodule must not shadow a function of its name."""
    code = f"""
{before}
import types, backendmlp
first = {{name: getattr(backendmlp, name) for name in {names}}}
import backendmlp.mlp, backendmlp.training.epochs, backendmlp.data
for name, found in first.items():
    assert not isinstance(found, types.ModuleType), name
    assert getattr(backendmlp, name) is found, name
    assert callable(found), name
"""
    python(code)


def refusal(code: str, *path: Path) -> str:
    return python(
        f"""
import backendmlp
try:
    {code}
except backendmlp.InputError as error:
    print(error)
""",
        *path,
    )


def fake_cupy(folder: Path, device_count: str) -> Path:
    """A package called cupy whose runtime answers as one without a usable GPU does."""
    (folder / "cupy").mkdir()
    (folder / "cupy" / "__init__.py").write_text(
        f"""
class cuda:
    class runtime:
        class CUDARuntimeError(RuntimeError): pass
        @staticmethod
        def getDeviceCount(): {device_count}
"""
    )
    return folder


def test_without_cupy_the_package_is_what_is_missing(tmp_path):
    code = "import sys; sys.modules['cupy'] = None; "
    broken = refusal(f"{code}backendmlp.select('cupy')")
    assert broken.startswith("the package 'cupy' ")
    assert "pip install 'cupy-cuda12x[ctk]>=" in broken
    if "'cupy'" not in python("import importlib.util as u; print([u.find_spec('cupy')])"):
        sentence = refusal("backendmlp.select('cupy')")
        assert sentence.startswith("the package 'cupy' is not installed; install it with: pip")


def test_a_cupy_that_cannot_be_imported_is_told_from_one_that_is_absent(tmp_path):
    (tmp_path / "cupy.py").write_text("raise ImportError('libnvrtc.so.12 is missing')")
    sentence = refusal("backendmlp.select('cupy')", tmp_path)
    assert "installed but cannot be imported (libnvrtc.so.12 is missing)" in sentence


@pytest.mark.parametrize(
    "count",
    ["return 0", "raise cuda.runtime.CUDARuntimeError('cudaErrorNoDevice: none is detected')"],
    ids=["none", "error"],
)
def test_with_cupy_but_no_gpu_the_gpu_is_what_is_missing(tmp_path, count):
    sentence = refusal("backendmlp.select('cupy')", fake_cupy(tmp_path, count))
    assert sentence.startswith("backend 'cupy' needs a CUDA GPU, and ")
    assert "driver" in sentence
    assert "pip install" not in sentence


def test_a_gpu_that_is_not_there_is_refused_by_number(tmp_path):
    fake = fake_cupy(tmp_path, "return 2")
    for device in ("cuda:2", "cuda:x", "gpu", "cuda:-1"):
        sentence = refusal(f"backendmlp.select('cupy', {device!r})", fake)
        assert sentence.endswith("it has 'cuda:0', 'cuda:1'"), sentence


# What makes another library's own models, beside the backend that makes its arrays; and its door.
EXCHANGE = {"exchange/__init__.py", "exchange/sequential.py"}


def test_libraries_are_named_in_the_backend_alone():
    """Names and imports; strings, docstrings and comments may speak of them."""
    sources = sorted(PACKAGE.rglob("*.py"))
    assert len(sources) > 15
    for source in sources:
        if source.name == "backend.py" or source.relative_to(PACKAGE).as_posix() in EXCHANGE:
            continue
        text = source.read_text(encoding="utf-8")
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        names = {token.string.lower() for token in tokens if token.type == tokenize.NAME}
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
                names |= {str(getattr(arg, "value", "")).lower() for arg in node.args}
        found = [name for name in names if any(library in name for library in LIBRARIES)]
        assert found == [], source.relative_to(PACKAGE)


@pytest.mark.parametrize(
    ("package", "home"),
    [
        ("sklearn", "estimators/scikit.py"),
        ("mpi4py", "distributed/mpi.py"),
        ("joblib", "sweeps/sweep.py"),
    ],
)
def test_one_module_imports_it(package, home):
    found = []
    for source in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            if any(name.partition(".")[0] == package for name in names):
                found.append(source.relative_to(PACKAGE).as_posix())
    assert set(found) == {home}


def test_without_scikit_learn_the_extra_is_what_is_missing():
    code = "import sys; sys.modules['sklearn'] = None; "
    sentence = refusal(f"{code}backendmlp.MLPClassifier")
    assert sentence == (
        "the package 'scikit-learn' is not installed; install it with: pip install "
        "'scikit-learn>=1.6'"
    )
    assert python(f"{code}from backendmlp import *; print(MLP.__name__)") == "MLP"


def imported(name: str, tree: ast.AST) -> set[str]:
    """The package's own modules that the module ``name`` imports, within functions too."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, name
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else str(node.module))
    return found & set(MODULES)


MODULES = {
    ".".join((PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in PACKAGE.rglob("*.py")
}


def test_imports_have_no_circle():
    """Also not one that an import within a function hides."""
    graph = {
        name: imported(name, ast.parse(path.read_text(encoding="utf-8")))
        for name, path in MODULES.items()
    }
    assert "backendmlp.steps.compiled" in graph["backendmlp.steps.choose"]
    order = list(graphlib.TopologicalSorter(graph).static_order())  # CycleError names a circle
    assert order.index("backendmlp.steps.definition") < order.index("backendmlp.steps.choose")


def test_the_network_is_written_above_the_standard_alone():
    """The model, the seam and the trainer take their namespace from their arguments."""
    for name in (
        "network/model",
        "steps/definition",
        "network/evaluation",
        "arithmetic/bitwise",
        "arithmetic/native",
    ):
        tree = ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))
        imported = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for alias in node.names
        }
        assert not imported & set(HEAVY), name
        called = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "np"
        }
        # Host arrays only: initial parameters and the tables.
        assert called <= {"ndarray", "sqrt", "zeros"}, name

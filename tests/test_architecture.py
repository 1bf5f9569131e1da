"""Rules of the whole package, read from its source: who may import whom, and what no module does."""

import ast
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

import longlive
from tests.support.paths import ROOT

PACKAGE = ROOT / "longlive"
MODULES = sorted([*PACKAGE.rglob("*.py"), ROOT / "app.py"])

VALUES = ("chunks", "config", "errors", "files", "network", "prompts", "version")
"""Modules beside the packages, which all may import."""
ORDER = (
    "models",
    "media",
    "generation",
    "weights",
    "runtime",
    "training",
    "storybook",
    "serving",
    "audience",
    "web",
    "benchmark",
    "evaluation",
    "cli",
)
"""The packages: each may import only itself and those before it. The README's map is in the same order."""
MAX_MODULES = 14
MAX_CLASS_LINES = 265
HOMES = {
    "gradio": ("app.py", "longlive/web/", "longlive/serving/executors/zerogpu.py"),
    "spaces": ("app.py", "longlive/web/", "longlive/serving/executors/zerogpu.py"),
    "gradio_client": ("longlive/benchmark/loadtest/",),
    "playwright": ("longlive/benchmark/loadtest/",),
    "ray": ("longlive/serving/executors/ray",),
}
"""Libraries that only some places know. (The errors of ``spaces`` are Gradio's.)"""

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.If)


def imports(source: str, name: str = "source") -> set[str]:
    """Every module and name that a source imports, anywhere in it, by its full name."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} line {node.lineno}: imports are written in full"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def upward(source: str, package: str) -> set[str]:
    """What a source in ``package`` (empty: beside the packages) imports against the order."""
    allowed = {*VALUES, *(ORDER[: ORDER.index(package) + 1] if package in ORDER else ())}
    own = {name.split(".")[1] for name in imports(source) if name.startswith("longlive.")}
    return {name for name in own if name in (*ORDER, *VALUES) and name not in allowed}


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def package_of(path: Path) -> str:
    """The package that a module belongs to; empty for the modules beside the packages."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


@pytest.mark.parametrize("path", MODULES[1:], ids=names(MODULES[1:]))
def test_no_module_imports_what_comes_after_its_package(path: Path) -> None:
    if path.name in ("__init__.py", "__main__.py") and path.parent == PACKAGE:
        return
    assert not upward(path.read_text(encoding="utf-8"), package_of(path))


@pytest.mark.parametrize(("first", "second"), list(pairwise(ORDER)))
def test_an_import_against_the_order_is_found_however_it_is_written(first: str, second: str) -> None:
    for source in (
        f"from longlive.{second}.module import thing",
        f"import longlive.{second}.module",
        f"from longlive import {second}",
        f"def lazily():\n    from longlive.{second} import module",
        f"if TYPE_CHECKING:\n    from longlive.{second}.module import thing",
    ):
        assert upward(source, first) == {second}
        assert not upward(source, second)
        assert upward(source, "") == {second}


def test_every_package_has_a_place_in_the_order_and_is_not_too_large() -> None:
    packages = {path.name for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert packages == set(ORDER)
    assert {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"} <= set(VALUES)
    sizes = Counter(str(path.parent) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
    assert {folder: size for folder, size in sizes.items() if size > MAX_MODULES} == {}


def test_no_class_is_too_long() -> None:
    classes = [
        (node.end_lineno - node.lineno, f"{path.name}: {node.name}")
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and node.end_lineno
    ]
    assert [name for lines, name in classes if lines > MAX_CLASS_LINES] == []


@pytest.mark.parametrize("path", MODULES, ids=names(MODULES))
def test_libraries_are_known_only_where_they_belong(path: Path) -> None:
    where = str(path.relative_to(ROOT))
    roots = {name.split(".")[0] for name in imports(path.read_text(encoding="utf-8"))}
    assert not [
        library for library, homes in HOMES.items() if library in roots and not where.startswith(homes)
    ]


@pytest.mark.parametrize("path", sorted(ROOT.glob("tests/**/test_*.py")), ids=lambda path: path.stem)
def test_no_test_module_imports_another(path: Path) -> None:
    found = imports(path.read_text(encoding="utf-8"))
    assert not [name for name in found if name.startswith("tests.") and ".test_" in name]


@pytest.mark.parametrize("world", ["storybook.world", "storybook.third_edition.world"])
def test_a_world_of_the_storybook_imports_nothing_else_of_ours(world: str) -> None:
    paths = list((PACKAGE / world.replace(".", "/")).glob("*.py"))
    assert len(paths) > 3
    for path in paths:
        own = {name for name in imports(path.read_text(encoding="utf-8")) if name.startswith("longlive.")}
        assert not {name for name in own if not name.startswith(f"longlive.{world}.")}, path.name


@pytest.mark.parametrize("path", MODULES, ids=names(MODULES))
def test_nothing_is_computed_or_asked_when_a_module_is_imported(path: Path) -> None:
    """At module level there are imports, definitions, constants, and nothing that speaks to the machine."""
    asking = {
        "environ",
        "getenv",
        "is_available",
        "set_num_threads",
        "manual_seed",
        "set_default_dtype",
        "open",
    }
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, DEFINITIONS):
            continue
        called = {
            node.attr if isinstance(node, ast.Attribute) else node.id
            for node in ast.walk(statement)
            if isinstance(node, ast.Attribute | ast.Name)
        }
        assert isinstance(statement, ast.Assign | ast.AnnAssign | ast.Expr), f"line {statement.lineno}"
        assert not called & asking, f"line {statement.lineno}"


@pytest.mark.parametrize("path", MODULES, ids=names(MODULES))
def test_no_file_is_run_as_code_when_it_is_read(path: Path) -> None:
    """Weights are safetensors or read with ``weights_only``; nothing is unpickled or evaluated."""
    running = {
        "eval",
        "exec",
        "compile",
        "__import__",
        "Unpickler",
        "allow_pickle",
        "trust_remote_code",
        "shell",
    }
    readers = {
        "pickle.load",
        "pickle.loads",
        "np.load",
        "numpy.load",
        "yaml.load",
        "joblib.load",
        "os.system",
    }
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            options = {option.arg: ast.unparse(option.value) for option in node.keywords}
            assert called not in running | readers and not running & options.keys(), f"line {node.lineno}"
            assert called != "torch.load" or options.get("weights_only") == "True", f"line {node.lineno}"


def test_every_public_name_exists_and_is_listed_once_in_order() -> None:
    assert longlive.__all__ == sorted(set(longlive.__all__), key=lambda name: (name.islower(), name))
    assert all(getattr(longlive, name) is not None for name in longlive.__all__)
    with pytest.raises(AttributeError, match="Nothing"):
        _ = longlive.Nothing


def test_every_error_is_public_and_one_of_ours() -> None:
    defined = [
        node.name
        for node in ast.parse((PACKAGE / "errors.py").read_text()).body
        if isinstance(node, ast.ClassDef)
    ]
    assert set(defined) <= set(longlive.__all__)
    assert all(issubclass(getattr(longlive, name), longlive.LongLiveError) for name in defined)


def test_the_version_is_written_once() -> None:
    assert 'path = "longlive/version.py"' in (ROOT / "pyproject.toml").read_text()
    assert longlive.__version__ in (ROOT / "longlive/version.py").read_text()


IMPORT_PROBE = """
import sys, time
import torch
asked = []
told = {"socket.connect", "subprocess.Popen"}
sys.addaudithook(lambda event, args: asked.append(event) if event in told else None)
threads, state = torch.get_num_threads(), torch.random.get_rng_state()
begun = time.process_time()
import longlive
longlive.ConfigError
quick = time.process_time() - begun
assert "diffusers" not in sys.modules and "transformers" not in sys.modules and "gradio" not in sys.modules
longlive.Session, longlive.load_models
assert torch.get_num_threads() == threads and torch.equal(torch.random.get_rng_state(), state)
assert not torch.cuda.is_initialized() and not asked, asked
print(quick)
"""


def test_importing_the_package_is_quick_and_touches_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT_PROBE], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1.0, "seconds of processor time beyond torch"

"""The house's own rules, read from the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import longlive
from tests.support.paths import ROOT

PACKAGE = ROOT / "longlive"
CLIENTS = ("training", "storybook", "evaluation", "web")
CORE = sorted(path for path in PACKAGE.glob("*.py") if path.stem != "cli")
MODULES = sorted([*PACKAGE.rglob("*.py"), ROOT / "app.py"])


DEFINITIONS = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Import,
    ast.ImportFrom,
    ast.If,
)


def imports(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it, by its full name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} line {node.lineno}: imports are written in full"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


@pytest.mark.parametrize("path", MODULES, ids=names(MODULES))
def test_gradio_and_spaces_stay_in_the_page(path: Path) -> None:
    in_page = path.name == "app.py" or "web" in path.relative_to(ROOT).parts
    roots = {name.split(".")[0] for name in imports(path)}
    assert in_page or not roots & {"gradio", "gradio_client", "spaces"}


@pytest.mark.parametrize("path", CORE, ids=names(CORE))
def test_the_core_does_not_know_its_clients(path: Path) -> None:
    assert not [
        name for name in imports(path) if name.startswith(tuple(f"longlive.{room}" for room in CLIENTS))
    ]


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("errors", set()),
        ("config", {"errors"}),
        ("chunks", set()),
        ("rope", set()),
        ("flow_matching", {"config"}),
        ("kv_cache", {"config", "errors", "rope"}),
        ("noise", {"errors"}),
        ("model_card", {"errors"}),
        ("tiny_vae", set()),
        ("attention", {"config", "errors", "kv_cache", "rope"}),
        ("transformer", {"attention", "config", "errors", "kv_cache", "rope"}),
        ("denoise", {"attention", "config", "errors", "flow_matching", "kv_cache", "transformer"}),
    ],
)
def test_the_engine_imports_torch_and_what_stands_above_it(module: str, allowed: set[str]) -> None:
    found = imports(PACKAGE / f"{module}.py")
    own = {name.split(".")[1] for name in found if name.startswith("longlive.")}
    foreign = {name.split(".")[0] for name in found if not name.startswith("longlive")} - set(
        sys.stdlib_module_names
    )
    assert own <= allowed
    assert foreign <= {"torch", "numpy"}


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


def test_the_version_is_written_the_same_in_both_places() -> None:
    assert f'version = "{longlive.__version__}"' in (ROOT / "pyproject.toml").read_text()


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

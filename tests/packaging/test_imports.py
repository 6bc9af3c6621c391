"""What an import costs, and that nothing optional is needed where it is not asked for."""

import ast
import json
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import optconform

CHECKOUT = Path(__file__).resolve().parents[2]
FRAMEWORKS = ("torch", "tensorflow", "keras", "jax", "optax")
OPTIONAL = (*FRAMEWORKS, "array_api_compat", "numba", "jinja2", "plotly")
HEAVY = (*OPTIONAL, "numpy", "ml_dtypes", "safetensors", "rich", "scipy")

BLOCK_OPTIONAL = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {OPTIONAL!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name)
sys.meta_path.insert(0, Blocked())
"""


def python(folder, *arguments):
    return subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)


def modules_after(folder, code):
    """Run `code` in a fresh interpreter, away from the checkout, and return the names of the modules it leaves."""
    report = "import sys, json; print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    done = python(folder, "-c", f"{code}\n{report}")
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_importing_the_package_imports_nothing_of_weight(tmp_path):
    loaded = modules_after(tmp_path, "import optconform")
    assert "optconform" in loaded
    assert not loaded.intersection((*HEAVY, "click", "importlib.metadata", "tomllib"))
    assert not any(name.startswith("optconform.") for name in loaded)


def test_help_imports_nothing_of_weight(tmp_path):
    ask_for_help = """
import sys
from optconform.conformance.cli.main import main
sys.argv = ["optconform", "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""
    loaded = modules_after(tmp_path, ask_for_help)
    assert "click" in loaded
    assert not loaded.intersection(HEAVY)


def test_public_names_are_listed_and_found():
    assert set(optconform.__all__) <= set(dir(optconform))
    for name in optconform.__all__:
        assert getattr(optconform, name) is getattr(optconform, name)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'optconform' has no attribute 'adamw'"):
        _ = optconform.adamw


def test_version_says_whether_it_is_a_checkout():
    with (CHECKOUT / "pyproject.toml").open("rb") as file:
        declared = tomllib.load(file)["project"]["version"]
    if Path(optconform.__file__).with_name("pyproject.toml").is_file():
        assert optconform.__version__ == f"{declared}+checkout"
    else:
        assert optconform.__version__ == metadata.version("optconform") == declared


def modules_granted_an_exception():
    """The exceptions that import-linter grants, read where they are granted."""
    with (CHECKOUT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    return {exception.split(" -> ")[0] for contract in contracts for exception in contract.get("ignore_imports", ())}


def module_names():
    for folder in ("reference", "adapters", "conformance", "gpu_ci"):
        for path in sorted((CHECKOUT / folder).rglob("*.py")):
            parts = ("optconform", *path.relative_to(CHECKOUT).with_suffix("").parts)
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def siblings_imported_by(name):
    """The modules of the same folder that `name` imports when it is imported itself."""
    *folders, file = name.split(".")[1:]
    path = CHECKOUT.joinpath(*folders, f"{file}.py")
    tree = ast.parse(path.read_text() if path.is_file() else "")
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from (f"{name.rpartition('.')[0]}.{sibling}" for sibling in names)


def with_what_stands_on_it(granted):
    """Add the modules beside them that import one of `granted`: keras_casts reaches Keras through keras_import."""
    while more := {name for name in module_names() if granted.intersection(siblings_imported_by(name))} - granted:
        granted = granted | more
    return granted


def test_every_other_module_imports_with_the_core_alone(tmp_path):
    granted = modules_granted_an_exception()
    assert "optconform.adapters.pytorch" in granted
    granted = with_what_stands_on_it(granted)
    names = [name for name in module_names() if name not in granted and f"{name.rpartition('.')[0]}.*" not in granted]
    assert "optconform.reference" in names
    code = f"{BLOCK_OPTIONAL}\nimport importlib\nfor name in {names!r}: importlib.import_module(name)"
    assert not modules_after(tmp_path, code).intersection(OPTIONAL)


def test_the_block_blocks(tmp_path):
    for name in OPTIONAL:
        done = python(tmp_path, "-c", f"{BLOCK_OPTIONAL}\nimport {name}")
        assert f"{name} is blocked" in done.stderr

"""The table of frameworks, and that nothing is imported before its time."""

import json
import os
import subprocess
import sys

import pytest

from optconform.adapters import frameworks
from optconform.adapters.devices import resolve_device
from optconform.adapters.errors import MissingDevice, MissingFramework, TargetError
from optconform.adapters.execution import RUNTIMES, load_runtime
from optconform.adapters.frameworks import FRAMEWORKS, framework_named, installed_frameworks, load_adapter
from optconform.adapters.text import describe_error, escape_control

pytestmark = pytest.mark.numpy

FOREIGN = ("torch", "keras", "tensorflow", "jax", "optax")


def modules_after(code, tmp_path):
    program = f"{code}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


LIGHT = """
import optconform.adapters
import optconform.adapters.targets, optconform.adapters.options, optconform.adapters.protocol
import optconform.adapters.saved_attributes, optconform.adapters.arrays, optconform.adapters.devices
from optconform.adapters.frameworks import FRAMEWORKS, installed_frameworks, load_adapter
assert "numpy" in installed_frameworks()
load_adapter("numpy")
from optconform.adapters.targets import load_target
load_target("optconform.adapters.numpy_optimizers:AdamW")
"""


def test_no_framework_is_imported_before_it_is_used(tmp_path):
    assert not set(modules_after(LIGHT, tmp_path)) & set(FOREIGN)


def test_package_itself_imports_not_even_numpy(tmp_path):
    light = "import optconform.adapters, optconform.adapters.errors, optconform.adapters.text"
    assert "numpy" not in modules_after(light, tmp_path)


@pytest.mark.parametrize("name", ["torch", "tensorflow", "jax"])
def test_each_adapter_imports_its_own_framework_alone(name, tmp_path):
    if name not in installed_frameworks():
        pytest.skip(f"{name} is not installed")
    loaded = modules_after(f"from optconform.adapters.frameworks import load_adapter\nload_adapter({name!r})", tmp_path)
    others = [row for row in FRAMEWORKS.values() if row.name != name]
    assert f"optconform.adapters.{FRAMEWORKS[name].adapter_module}" in loaded
    assert not {f"optconform.adapters.{row.adapter_module}" for row in others} & set(loaded)
    # TensorFlow imports JAX by itself where both are installed, but never Optax.
    assert not ({"torch", "keras", "tensorflow", "optax"} - set(FRAMEWORKS[name].imports)) & set(loaded)


def test_rows_are_complete():
    for name, row in FRAMEWORKS.items():
        assert row.name == name
        assert row.install_command == (
            f"pip install 'optconform[{row.extra}]'" if row.extra else "pip install optconform"
        )
    assert list(FRAMEWORKS) == ["numpy", "torch", "tensorflow", "jax"]


@pytest.mark.parametrize(
    ("given", "found"),
    [("pytorch", "torch"), ("keras", "tensorflow"), ("tf", "tensorflow"), ("optax", "jax"), ("np", "numpy")],
)
def test_other_names(given, found):
    assert framework_named(given).name == found


def test_unknown_framework():
    with pytest.raises(TargetError, match="unknown framework 'pytorhc'; expected one of numpy, torch, tensorflow, jax"):
        load_adapter("pytorhc")


def test_absent_framework_is_not_listed_and_names_its_command(monkeypatch):
    monkeypatch.setattr(frameworks, "is_findable", lambda name: name == "numpy")
    assert installed_frameworks() == ("numpy",)
    with pytest.raises(
        MissingFramework, match=r"no module named jax or optax\. Install it with: pip install 'optconform\[jax\]'"
    ):
        load_adapter("jax")


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("torch", "'optconform[torch]'"),
        ("tensorflow", "'optconform[tensorflow]'"),
        ("jax", "'optconform[jax]'"),
        ("keras-jax", "'optconform[jax]' keras"),
        ("keras-torch", "'optconform[torch]' keras"),
    ],
)
def test_absent_runtime_names_what_installs_all_of_it(monkeypatch, name, command):
    monkeypatch.setattr(frameworks, "is_findable", lambda module: False)
    with pytest.raises(MissingFramework) as raised:
        load_runtime(name)
    lost = " or ".join(RUNTIMES[name].imports)
    assert str(raised.value) == f"{name} cannot be used: no module named {lost}. Install it with: pip install {command}"


def test_half_a_framework_is_not_one(monkeypatch):
    monkeypatch.setattr(frameworks, "is_findable", lambda name: name != "keras")
    assert "tensorflow" not in installed_frameworks()
    with pytest.raises(MissingFramework, match="no module named keras"):
        load_adapter("tensorflow")


def test_framework_that_does_not_import_keeps_its_own_error(monkeypatch, tmp_path):
    (tmp_path / "torch.py").write_text("raise OSError('libtorch.so: \\x1b cannot open')")
    for name in [n for n in sys.modules if n.partition(".")[0] == "torch" or n == "optconform.adapters.pytorch"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        MissingFramework, match=r"importing it raised OSError: libtorch.so: \\x1b cannot open"
    ) as caught:
        load_adapter("torch")
    assert isinstance(caught.value.__cause__, OSError)


def test_environment_that_is_set_already_stays(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    frameworks.prepare_environment(FRAMEWORKS["tensorflow"])
    assert os.environ["KERAS_BACKEND"] == "jax"
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "2"


@pytest.mark.parametrize(
    ("name", "variable", "value"),
    [("tensorflow", "TF_FORCE_GPU_ALLOW_GROWTH", "true"), ("jax", "XLA_PYTHON_CLIENT_PREALLOCATE", "false")],
)
def test_frameworks_leave_each_other_memory_of_the_gpu(monkeypatch, name, variable, value):
    """One process runs them all; each would otherwise take most of the device with its first array."""
    monkeypatch.delenv(variable, raising=False)
    frameworks.prepare_environment(FRAMEWORKS[name])
    assert os.environ[variable] == value


@pytest.mark.parametrize(
    ("asked", "found"),
    [("cpu", "cpu"), ("cpu:0", "cpu"), ("gpu", "gpu:0"), ("cuda", "gpu:0"), ("cuda:1", "gpu:1"), ("gpu:1", "gpu:1")],
)
def test_device_names(asked, found):
    assert resolve_device(asked, ("cpu", "gpu:0", "gpu:1"), "torch", "") == found


def test_missing_device_says_what_there_is_and_what_to_do():
    with pytest.raises(MissingDevice, match=r"torch has no device 'cuda:2'; it sees: cpu, gpu:0\. Plug it in\."):
        resolve_device("cuda:2", ("cpu", "gpu:0"), "torch", "Plug it in.")
    with pytest.raises(MissingDevice, match=r"device '\\x1b' is not a device name; expected cpu, cuda, gpu or gpu:N"):
        resolve_device("\x1b", ("cpu",), "torch", "")


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain ω∑ text", "plain ω∑ text"),
        ("a\x1b[31mb\r\n\t\x00\x7f", "a\\x1b[31mb\\r\\n\\t\\x00\\x7f"),
        ("right\u202eleft", "right\\u202eleft"),
        ("line\u2028end\x85", "line\\u2028end\\x85"),
        ("half\ud800", "half\\ud800"),
    ],
)
def test_control_characters_are_escaped(text, escaped):
    assert escape_control(text) == escaped


def test_error_that_cannot_describe_itself():
    class Odd(Exception):
        def __str__(self):
            raise RuntimeError

    assert describe_error(Odd()) == "Odd"
    assert describe_error(ValueError("a\nb")) == "ValueError: a\\nb"
    assert describe_error(ValueError()) == "ValueError"


def test_error_whose_description_exits():
    class Exits(Exception):
        def __str__(self):
            raise SystemExit(3)

    assert describe_error(Exits()) == "Exits"


def test_of_a_long_message_the_beginning_is_shown():
    described = describe_error(ValueError("z" * 10**6))
    assert described.startswith("ValueError: zzz")
    assert described.endswith("zzz... (1000000 characters)")
    assert len(described) < 30_000

"""From names to targets, with every way to be wrong."""

import collections
import os
import pathlib
import re
import sys

import pytest

from optconform.adapters.errors import MissingFramework, TargetError
from optconform.adapters.targets import load_target, target_from_object

pytestmark = pytest.mark.numpy

ADAMW = "optconform.adapters.numpy_optimizers:AdamW"

NUMPY_OPTIMIZER = """
class Mine:
    def __init__(self, weight_decay=0.0):
        self.weight_decay = weight_decay
    def step(self, params, grads, lr):
        return params

class Holder:
    Nested = Mine

number = 3
"""


def test_module_target():
    target = load_target(ADAMW)
    assert (target.spec, target.framework, target.attribute.__name__) == (ADAMW, "numpy", "AdamW")
    assert target.renamed == {}


def test_file_target(python_file):
    path = python_file(NUMPY_OPTIMIZER)
    target = load_target(f"{path}:Mine", renamed={"weight_decay": "wd"})
    assert target.framework == "numpy"
    assert target.renamed == {"weight_decay": "wd"}


def test_relative_path(python_file, monkeypatch):
    path = python_file(NUMPY_OPTIMIZER)
    monkeypatch.chdir(path.parent)
    assert load_target("target.py:Mine").attribute.__name__ == "Mine"
    assert load_target("./target.py:Mine").attribute.__name__ == "Mine"


def test_dotted_attribute(python_file):
    assert load_target(f"{python_file(NUMPY_OPTIMIZER)}:Holder.Nested").attribute.__name__ == "Mine"


def test_framework_given_is_not_questioned(python_file):
    source = "def make(**options):\n    raise AssertionError('called')\n"
    assert load_target(f"{python_file(source)}:make", framework="optax").framework == "jax"


def test_unknown_framework_names_those_there_are():
    with pytest.raises(TargetError, match=r"unknown framework 'tensorflw'; expected one of numpy, torch.*'tensorflow'"):
        load_target(ADAMW, framework="tensorflw")


@pytest.mark.parametrize(
    "spec", ["", ":", "torch.optim", "torch.optim:", ":AdamW", "a:b c", "a:b..c", "a:1", "a:b.", " :A"]
)
def test_malformed_target(spec):
    with pytest.raises(TargetError, match=r"is not a target; expected package.module:attribute or path/to/"):
        load_target(spec)


@pytest.mark.parametrize(
    ("spec", "example"),
    [
        ("my.package.MyAdamW", "my.package:MyAdamW"),
        ("MyAdamW", "torch.optim:AdamW"),
        ("optim.py", "torch.optim:AdamW"),
        ("my..MyAdamW", "torch.optim:AdamW"),
    ],
)
def test_malformed_target_with_a_dot_for_the_colon_is_written_right(spec, example):
    with pytest.raises(TargetError, match=rf", for example {re.escape(example)}\.$"):
        load_target(spec)


@pytest.mark.parametrize("spec", ["tor-ch.optim:AdamW", "a..b:C", "1:C"])
def test_malformed_module(spec):
    with pytest.raises(TargetError, match="is not a module name; expected"):
        load_target(spec)


def test_control_characters_are_escaped():
    with pytest.raises(TargetError) as caught:
        load_target("torch\x1b[31m.optim\n:AdamW")
    assert "'torch\\x1b[31m.optim\\n' in 'torch" in str(caught.value)


def test_module_that_is_not_there():
    with pytest.raises(TargetError, match=r"no module named optconform_absent\. .*path/to/file.py:attribute"):
        load_target("optconform_absent.optim:AdamW")
    with pytest.raises(TargetError, match=r"no module named optconform.absent"):
        load_target("optconform.absent:AdamW")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes")
def test_a_pipe_or_a_directory_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "folder.py").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(TargetError, match=rf"{name}\.py is a directory, a pipe or a device, but should be a file"):
            load_target(f"{tmp_path / name}.py:Mine")


def test_file_that_is_not_there_names_the_closest(python_file):
    path = python_file(NUMPY_OPTIMIZER, "my_optimizer.py")
    with pytest.raises(TargetError, match=r"my_optimiser.py does not exist\. Did you mean my_optimizer.py\?"):
        load_target(f"{path.parent / 'my_optimiser.py'}:Mine")


def test_file_that_is_no_python_file(tmp_path):
    with pytest.raises(TargetError, match=r"is not a \.py file"):
        load_target(f"{tmp_path}/weights.bin:Mine")


@pytest.mark.parametrize(("attribute", "closest"), [("adamw", "AdamW"), ("AdamWW", "AdamW"), ("SGD", "SGDW")])
def test_attribute_that_is_not_there_names_the_closest(attribute, closest):
    with pytest.raises(TargetError, match=rf"numpy_optimizers has no attribute '{attribute}'\. Did you mean {closest}"):
        load_target(f"optconform.adapters.numpy_optimizers:{attribute}")


def test_nested_attribute_that_is_not_there(python_file):
    with pytest.raises(TargetError, match=r"Holder has no attribute 'Nestd'\. Did you mean Nested\?"):
        load_target(f"{python_file(NUMPY_OPTIMIZER)}:Holder.Nestd")


def test_attribute_that_cannot_be_called(python_file):
    with pytest.raises(TargetError, match="number is int, which cannot be called"):
        load_target(f"{python_file(NUMPY_OPTIMIZER)}:number")
    with pytest.raises(TargetError, match="cannot be called"):
        target_from_object(3)


@pytest.mark.parametrize("line", ["raise RuntimeError('\\x1b[2Jboom\\n')", "import sys; sys.exit('\\x1b[2Jboom\\n')"])
def test_file_that_raises(python_file, line):
    with pytest.raises(TargetError) as caught:
        load_target(f"{python_file(line)}:Mine")
    assert "importing it raised" in str(caught.value)
    assert "\\x1b[2Jboom\\n" in str(caught.value)
    assert caught.value.__cause__ is not None


def test_file_with_a_syntax_error(python_file):
    with pytest.raises(TargetError, match="importing it raised SyntaxError"):
        load_target(f"{python_file('def (')}:Mine")


def test_file_that_lacks_a_requirement_which_is_no_framework(python_file):
    with pytest.raises(
        TargetError, match="importing it raised ModuleNotFoundError: No module named 'optconform_absent'"
    ):
        load_target(f"{python_file('import optconform_absent')}:Mine")


@pytest.mark.parametrize(
    ("module", "extra"), [("torch", "torch"), ("keras", "tensorflow"), ("tensorflow", "tensorflow"), ("optax", "jax")]
)
def test_missing_framework_names_the_command(monkeypatch, python_file, module, extra):
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    remedy = rf"Install it with: pip install 'optconform\[{extra}\]'"
    with pytest.raises(MissingFramework, match=remedy):
        load_target(f"{module}.anything:AdamW")
    with pytest.raises(MissingFramework, match=remedy):
        load_target(f"{python_file(f'import {module}')}:Mine")
    late = python_file(f"def make(lr):\n    import {module}\n")
    with pytest.raises(MissingFramework, match=remedy):
        load_target(f"{late}:make")


def test_object_target():
    class Local:
        def step(self, params, grads, lr):
            return params

    target = target_from_object(Local)
    assert target.framework == "numpy"
    assert target.attribute is Local
    assert target.spec.endswith("test_object_target.<locals>.Local")
    assert target_from_object(lambda **options: Local()).framework == "numpy"


def test_callable_object_as_target():
    class Factory:
        def __call__(self, weight_decay=0.0):
            return collections.namedtuple("T", "init update")(lambda params: (), lambda g, s, p=None: (g, s))

    assert target_from_object(Factory()).framework == "jax"


def test_file_name_that_no_file_system_takes():
    with pytest.raises(TargetError, match=r"a\.py does not exist"):
        load_target(f"{'a' * 300}.py:Mine")


def test_file_that_cannot_be_read(python_file, monkeypatch):
    path = python_file(NUMPY_OPTIMIZER)

    def refuse(self, *arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pathlib.Path, "read_text", refuse)
    with pytest.raises(TargetError, match=r"target\.py cannot be read: PermissionError: .*Permission denied"):
        load_target(f"{path}:Mine")

"""The frameworks, as data. Nothing is imported before `load_adapter` is called."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import ModuleType
from typing import TYPE_CHECKING, Protocol, cast

from .errors import MissingFramework, TargetError
from .text import describe_error

if TYPE_CHECKING:
    from .protocol import Adapter


class Needed(Protocol):
    """What has to be installed: a framework, or a runtime of several."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def imports(self) -> tuple[str, ...]:
        """Top-level modules that must all be there."""

    @property
    def install_command(self) -> str:
        """The command that installs them."""


@dataclass(frozen=True, slots=True)
class Framework:
    """One framework: how its presence shows, what runs it, and how to get it."""

    name: str
    adapter_module: str
    """Module beside this one that holds the adapter."""
    adapter_class: str
    imports: tuple[str, ...]
    """Top-level modules that must all be there."""
    extra: str | None
    """The extra of this package that installs it; None where the core needs it anyway."""
    also_called: tuple[str, ...] = ()
    class_roots: tuple[str, ...] = ()
    """Top-level modules whose classes and functions are this framework's."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables set, unless they are set already, before the first import."""

    @property
    def install_command(self) -> str:
        """The command that installs the framework."""
        return f"pip install 'optconform[{self.extra}]'" if self.extra else "pip install optconform"


FRAMEWORKS: Mapping[str, Framework] = {
    row.name: row
    for row in (
        Framework("numpy", "numpy_array", "NumPyAdapter", ("numpy",), None, also_called=("np",)),
        Framework(
            "torch",
            "pytorch",
            "TorchAdapter",
            ("torch",),
            "torch",
            also_called=("pytorch",),
            class_roots=("torch",),
        ),
        Framework(
            "tensorflow",
            "keras_tf",
            "KerasAdapter",
            ("tensorflow", "keras"),
            "tensorflow",
            also_called=("keras", "tf"),
            class_roots=("keras", "tensorflow"),
            # Without the first, TensorFlow writes its start-up log between the tool's own lines; without the
            # last, it takes nearly the whole memory of a GPU, which the other frameworks of a run need too.
            environment={
                "TF_CPP_MIN_LOG_LEVEL": "2",
                "KERAS_BACKEND": "tensorflow",
                "TF_FORCE_GPU_ALLOW_GROWTH": "true",
            },
        ),
        Framework(
            "jax",
            "optax_jax",
            "OptaxAdapter",
            ("jax", "optax"),
            "jax",
            also_called=("optax",),
            class_roots=("optax", "jax"),
            # Otherwise three quarters of a GPU's memory are gone with the first array.
            environment={"XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
        ),
    )
}


def framework_named(name: str) -> Framework:
    """Return the row for `name` or one of its other names. Raises `TargetError` with the closest."""
    for row in FRAMEWORKS.values():
        if name == row.name or name in row.also_called:
            return row
    close = get_close_matches(name, FRAMEWORKS, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise TargetError(f"unknown framework {name!r}; expected one of {', '.join(FRAMEWORKS)}.{hint}")


def framework_of_import(module: str) -> Framework | None:
    """Return the framework that the (dotted) module belongs to, None for any other module."""
    root = module.partition(".")[0]
    return next((row for row in FRAMEWORKS.values() if root in row.imports + row.class_roots), None)


def missing_imports(needed: Needed) -> tuple[str, ...]:
    """Return those of the top-level modules `needed` that cannot be found. Imports none of them."""
    return tuple(name for name in needed.imports if not is_findable(name))


def installed_frameworks() -> tuple[str, ...]:
    """Return the names of the frameworks that are installed. Imports none of them."""
    return tuple(row.name for row in FRAMEWORKS.values() if not missing_imports(row))


def prepare_environment(framework: Framework) -> None:
    """Set the framework's environment variables that are not set yet; only the first import reads them."""
    for name, value in framework.environment.items():
        os.environ.setdefault(name, value)


def not_installed(needed: Needed, detail: str) -> MissingFramework:
    """Return the error for what cannot be imported, with the command that installs it."""
    return MissingFramework(f"{needed.name} cannot be used: {detail}. Install it with: {needed.install_command}")


def load_adapter(name: str) -> Adapter:
    """Import a framework and return its adapter.

    Raises `TargetError` for an unknown name, `MissingFramework` with the install command where the
    framework is absent, and with the original error where it is there but does not import.
    """
    framework = framework_named(name)
    prepare_environment(framework)
    module = import_beside(framework.adapter_module, framework)
    return cast("Adapter", getattr(module, framework.adapter_class)())


def import_beside(module: str, needed: Needed) -> ModuleType:
    """Import the `module` beside this one that runs what is `needed`.

    Raises `MissingFramework` with the install command where that is absent, and with the original error where it is
    there but does not import.
    """
    absent = missing_imports(needed)
    if absent:
        raise not_installed(needed, f"no module named {' or '.join(absent)}")
    try:
        return importlib.import_module(f".{module}", __package__)
    except MissingFramework:
        raise
    except Exception as error:
        raise not_installed(needed, f"importing it raised {describe_error(error)}") from error


def is_findable(name: str) -> bool:
    """Return whether a top-level module can be found. Does not import it."""
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:  # an import hook that refuses it
        return False
    except ValueError:  # a module put into sys.modules by hand, without a spec
        return True

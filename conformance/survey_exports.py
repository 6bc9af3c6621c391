"""Which optimizers a library exports. Importing it is left to a worker process: see `workers.exporting`."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from ..adapters.detect import follows_numpy_protocol
from ..adapters.frameworks import framework_of_import, missing_imports, prepare_environment
from ..adapters.native_output import without_noise
from ..adapters.option_names import ALIASES
from ..adapters.protocol import Target
from ..adapters.recipes import recipe_of
from ..adapters.text import describe_error, escape_control

_OF_FRAMEWORKS = {
    "torch": ("torch", "numpy"),
    "tensorflow": ("tensorflow", "keras", "numpy"),
    "jax": ("jax", "jaxlib", "optax"),
}
"""Framework -> the modules whose versions can change a result, besides the library's own."""


@dataclass(frozen=True, slots=True)
class Export:
    """One optimizer of a library."""

    name: str
    framework: str
    aliases: tuple[str, ...] = ()
    """Other names under which the library exports the same object."""
    dtype: str = "float64"
    """The working precision it needs."""
    recipe: str | None = None
    """What it is handed beyond parameters and hyperparameters, where that is anything."""


@dataclass(frozen=True, slots=True)
class Library:
    """What one library exports."""

    name: str
    """The module, as asked for."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of everything a result depends on: its own distribution, or a digest of its files, and the rest."""
    exports: tuple[Export, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Name -> why what looks like an optimizer is none that can be audited."""
    problem: str | None = None
    """Why it could not be imported, and what to do about it; None where it could."""

    def to_json(self) -> dict[str, Any]:
        """Return it in JSON's own types."""
        exports = [{**asdict(export), "aliases": list(export.aliases)} for export in self.exports]
        return {**asdict(self), "exports": exports}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Library:
        """Return what `to_json` told of."""
        exports = (Export(**{**each, "aliases": tuple(each["aliases"])}) for each in document["exports"])
        return cls(**{**document, "exports": tuple(exports)})


def find_exports(library: str) -> Library:
    """Import `library` in this process and return what it exports."""
    framework = framework_of_import(library)
    if framework is not None:
        prepare_environment(framework)
    try:
        with without_noise():
            module = importlib.import_module(library)
    except (Exception, SystemExit) as error:
        return Library(library, problem=_why_not_imported(library, error))
    found: dict[int, tuple[Any, list[str]]] = {}
    left_out: dict[str, str] = {}
    for name in sorted(_public_names(module)):
        try:
            value = getattr(module, name)
        except (Exception, SystemExit) as error:  # a lazy module imports when it is asked
            left_out[name] = f"reading it raised {describe_error(error)}"
            continue
        if framework_of_export(value) is not None:
            found.setdefault(id(value), (value, []))[1].append(name)
    exports = []
    for value, names in found.values():
        # The name it was defined under stands for the others.
        own = str(getattr(value, "__name__", ""))
        first = own if own in names else names[0]
        exports.append(_export(value, first, tuple(name for name in names if name != first), library))
    frameworks = {export.framework for export in exports}
    return Library(library, _versions(module, frameworks), tuple(exports), left_out)


def framework_of_export(value: Any) -> str | None:
    """Return the framework whose optimizer `value` is, None where it is none.

    Classes that derive from `torch.optim.Optimizer` or from Keras's, functions that return an Optax gradient
    transformation and take a learning rate (those that take none are parts of one), classes with
    `step(params, grads, lr)`. Frameworks that the library has not imported are not asked.
    """
    return next((name for name, recognises in _RECOGNISED.items() if recognises(value)), None)


def _derives_from(module: str, attribute: str) -> Callable[[Any], bool]:
    def recognises(value: Any) -> bool:
        base = getattr(sys.modules.get(module), attribute, None)
        return inspect.isclass(base) and inspect.isclass(value) and issubclass(value, base) and value is not base

    return recognises


def _is_optax_factory(value: Any) -> bool:
    if "optax" not in sys.modules or inspect.isclass(value) or not callable(value):
        return False
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return False
    returned = signature.return_annotation
    name = returned if isinstance(returned, str) else getattr(returned, "__name__", "")
    rates = {alias for alias in ALIASES["lr"] if isinstance(alias, str)}
    # `scale` and `scale_by_rprop` take a step size, but are one part of a chain all the same.
    is_part = re.match(r"scale(_by_|$)", str(getattr(value, "__name__", ""))) is not None
    return "GradientTransformation" in name and bool(rates & set(signature.parameters)) and not is_part


_RECOGNISED: Mapping[str, Callable[[Any], bool]] = {
    "torch": _derives_from("torch.optim", "Optimizer"),
    "tensorflow": _derives_from("keras.optimizers", "Optimizer"),
    "jax": _is_optax_factory,
    "numpy": lambda value: inspect.isclass(value) and follows_numpy_protocol(value),
}


def _export(value: Any, name: str, aliases: tuple[str, ...], library: str) -> Export:
    framework = framework_of_export(value)
    assert framework is not None, "only optimizers come here"
    recipe = recipe_of(Target(f"{library}:{name}", value, framework))
    return Export(name, framework, aliases, recipe.dtype or "float64", recipe.reason or None)


def _public_names(module: ModuleType) -> Iterator[str]:
    """Yield the names of `__all__` or, where there is none, those without an underscore."""
    listed = getattr(module, "__all__", None)
    names: Sequence[Any] = listed if isinstance(listed, list | tuple) else dir(module)
    yield from {name for name in names if isinstance(name, str) and not name.startswith("_")}


def _why_not_imported(library: str, error: BaseException) -> str:
    """Return why `library` could not be imported, with the command that installs what is missing."""
    lost = (error.name or "") if isinstance(error, ModuleNotFoundError) else ""
    if not lost:
        return f"importing it raised {describe_error(error)}"
    framework = framework_of_import(lost)
    if framework is not None and missing_imports(framework):
        return f"it needs {framework.name}, which is not installed: {framework.install_command}"
    package = lost.partition(".")[0]
    if library == lost or library.startswith(f"{lost}."):
        return f"it is not installed: pip install {package} (or whatever package brings the module {package})"
    return f"it needs the module {escape_control(lost)}: pip install {escape_control(package)}"


def _versions(module: ModuleType, frameworks: set[str]) -> dict[str, str]:
    """Return the versions of the library and of the frameworks it builds on, by distribution."""
    roots = {module.__name__.partition(".")[0]}
    roots |= {each for framework in frameworks for each in _OF_FRAMEWORKS.get(framework, ("numpy",))}
    distributions = metadata.packages_distributions()
    versions: dict[str, str] = {}
    for root in sorted(roots):
        if root in distributions:
            versions |= {name.lower(): metadata.version(name) for name in sorted(set(distributions[root]))}
        else:
            versions[root] = f"sha256:{_digest_of_files(sys.modules[root])}"
    return versions


def _digest_of_files(module: ModuleType) -> str:
    """Return a digest of the Python files of a module that no distribution has brought, and so has no version."""
    origin = getattr(module, "__file__", None)
    if origin is None:
        return "none"
    path = Path(origin)
    files = sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(path.parent)}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()

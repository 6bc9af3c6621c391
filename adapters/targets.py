"""From a target as written to the class or factory itself."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from .detect import detect_framework
from .errors import TargetError
from .file_modules import load_file
from .frameworks import (
    FRAMEWORKS,
    framework_named,
    framework_of_import,
    missing_imports,
    not_installed,
    prepare_environment,
)
from .native_output import without_noise
from .protocol import Target
from .text import describe_error, escape_control

_EXPECTED = "expected package.module:attribute or path/to/file.py:attribute"


def load_target(spec: str, framework: str | None = None, renamed: Mapping[str, str] | None = None) -> Target:
    """Find the class or factory that `spec` names, and the framework it belongs to.

    `spec` is `package.module:attribute` or `path/to/file.py:attribute`; the attribute may be dotted.
    A file inside a package is loaded under stub parents (see `file_modules.load_file`). `framework`
    overrides detection; `renamed` maps canonical names to the target's own options.

    Raises `TargetError` for a malformed spec, for a module, file or attribute that is not there, and
    where importing raises (with the original error); `MissingFramework` where what is not there is a
    framework.
    """
    place, path = parse_spec(spec)
    module = _import_file(place, spec) if is_file(place) else _import_module(place, spec)
    return _target(spec, _attribute(module, path, spec), framework, renamed)


def parse_spec(spec: str) -> tuple[str, str]:
    """Return the module or file, and the attribute, that `spec` names; neither is looked for.

    Raises `TargetError` for a malformed spec.
    """
    place, separator, path = spec.rpartition(":")
    if not separator or not place.strip() or not all(part.isidentifier() for part in path.split(".")):
        raise TargetError(f"{spec!r} is not a target; {_EXPECTED}, for example {_example(spec)}.")
    if is_file(place):
        if Path(place).suffix != ".py":
            raise TargetError(f"{place!r} in {spec!r} is not a .py file; {_EXPECTED}.")
    elif not all(part.isidentifier() for part in place.split(".")):
        raise TargetError(f"{place!r} in {spec!r} is not a module name; {_EXPECTED}.")
    return place, path


def _example(spec: str) -> str:
    """Return how a target is written: `spec` itself, where it only has a dot for the colon."""
    module, dot, name = spec.rpartition(".")
    dotted = dot and name != "py" and all(part.isidentifier() for part in spec.split("."))
    return f"{module}:{name}" if dotted else "torch.optim:AdamW"


def is_file(place: str) -> bool:
    """Return whether `place`, of a spec, is the path of a file and not a module; it need not be there."""
    return place.endswith(".py") or "/" in place or "\\" in place


def target_from_object(
    attribute: Any, framework: str | None = None, renamed: Mapping[str, str] | None = None
) -> Target:
    """Return the target for a class or factory at hand, local ones and lambdas included.

    Raises `TargetError` for what cannot be called or whose framework cannot be told.
    """
    module = getattr(attribute, "__module__", None) or type(attribute).__module__
    name = getattr(attribute, "__qualname__", None) or type(attribute).__qualname__
    return _target(f"{module}:{name}", attribute, framework, renamed)


def _target(spec: str, attribute: Any, framework: str | None, renamed: Mapping[str, str] | None) -> Target:
    if not callable(attribute):
        raise TargetError(
            f"{escape_control(spec)} is {escape_control(type(attribute).__name__)}, which cannot be called; "
            "a target is an optimizer class or a factory that returns an optimizer."
        )
    name = framework_named(framework).name if framework is not None else detect_framework(attribute, spec)
    return Target(spec, attribute, name, dict(renamed or {}))


def _import_module(name: str, spec: str) -> ModuleType:
    framework = framework_of_import(name)
    if framework is not None:
        prepare_environment(framework)
    try:
        with without_noise():
            return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise _import_error(error, name, spec) from error


def _import_file(place: str, spec: str) -> ModuleType:
    path = Path(place)
    if not _answers(path.is_file):
        if _answers(path.exists):
            raise TargetError(f"{escape_control(place)} is a directory, a pipe or a device, but should be a file.")
        siblings = sorted(entry.name for entry in path.parent.glob("*.py")) if path.parent.is_dir() else []
        raise TargetError(f"{escape_control(place)} does not exist.{_closest(path.name, siblings)}")
    try:
        source = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise TargetError(f"{escape_control(place)} cannot be read: {describe_error(error)}") from error
    for framework in FRAMEWORKS.values():
        if any(name in source for name in framework.imports):
            prepare_environment(framework)
    try:
        with without_noise():
            return load_file(path)
    except (Exception, SystemExit) as error:
        raise _import_error(error, None, spec) from error


def _answers(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except OSError:  # a name that is longer than the file system allows
        return False


def _import_error(error: BaseException, module: str | None, spec: str) -> Exception:
    """Return what to tell for an import that failed: framework, module itself, or code that raised."""
    shown = escape_control(spec)
    lost = error.name or "" if isinstance(error, ModuleNotFoundError) else ""
    framework = framework_of_import(lost) if lost else None
    if framework is not None and missing_imports(framework):
        return not_installed(framework, f"{shown} needs it, and there is no module named {escape_control(lost)}")
    if module is not None and lost and (module == lost or module.startswith(f"{lost}.")):
        return TargetError(
            f"{shown}: there is no module named {escape_control(lost)}. Install the package that holds it, or give "
            "the file instead: path/to/file.py:attribute."
        )
    return TargetError(f"{shown}: importing it raised {describe_error(error)}")


def _attribute(module: ModuleType, path: str, spec: str) -> Any:
    found: Any = module
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            owner = escape_control(getattr(found, "__name__", type(found).__name__))
            names = [name for name in dir(found) if not name.startswith("_")]
            where = escape_control(spec.rpartition(":")[0]) if found is module else owner
            raise TargetError(f"{where} has no attribute {part!r}.{_closest(part, names)}") from error
        except (Exception, SystemExit) as error:  # a lazy module imports when it is asked
            raise _import_error(error, None, spec) from error
    return found


def _closest(name: str, names: list[str]) -> str:
    close = get_close_matches(name, names, n=3, cutoff=0.5)
    lowered = {candidate.lower(): candidate for candidate in names}
    if name.lower() in lowered and lowered[name.lower()] not in close:
        close.insert(0, lowered[name.lower()])
    return f" Did you mean {' or '.join(escape_control(candidate) for candidate in close)}?" if close else ""

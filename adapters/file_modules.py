"""Load one file as a module, without running the packages around it and without hiding anybody's module."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

PREFIX = "_optconform_target_"
"""Every module that `load_file` makes lies under a name that begins like this."""

_numbers = itertools.count()


def load_file(path: Path) -> ModuleType:
    """Execute a Python file and return it as a module.

    Each call makes a fresh module under a private top-level name, so nothing importable is hidden. The
    folders above the file that have an `__init__.py` become stub packages under that name: they have a
    `__path__`, so the file's relative imports find its neighbours, but their `__init__.py` files are
    not executed (many import compiled extensions or optional requirements). A file outside any package
    finds its neighbours by absolute import, after everything that is installed.

    Whatever the file raises passes through, and then no module of this call stays in `sys.modules`.
    """
    path = path.resolve()
    folders = _package_folders(path)
    root = f"{PREFIX}{next(_numbers)}"
    _add_stub(root, None)
    parent = root
    for folder in folders:
        parent = f"{parent}.{folder.name}"
        _add_stub(parent, folder)
    # A dot in the file's name would read as one more package.
    name = f"{parent}.{path.stem.replace('.', '_')}"
    try:
        with _neighbours(None if folders else path.parent):
            return _execute(name, path)
    except BaseException:
        for loaded in [loaded for loaded in sys.modules if loaded == root or loaded.startswith(f"{root}.")]:
            del sys.modules[loaded]
        raise


def _package_folders(path: Path) -> list[Path]:
    """Return the folders of the package that holds the file, outermost first."""
    folders: list[Path] = []
    folder = path.parent
    while (folder / "__init__.py").is_file() and folder != folder.parent:
        folders.insert(0, folder)
        folder = folder.parent
    return folders


def _add_stub(name: str, folder: Path | None) -> None:
    module = ModuleType(name, "A package whose own code was not executed.")
    search = [str(folder)] if folder is not None else []
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = search
    module.__path__ = search
    module.__package__ = name
    module.__spec__ = spec
    sys.modules[name] = module


def _execute(name: str, path: Path) -> ModuleType:
    is_package = path.name == "__init__.py"
    spec = importlib.util.spec_from_file_location(
        name, path, submodule_search_locations=[str(path.parent)] if is_package else None
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded as a module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@contextmanager
def _neighbours(folder: Path | None) -> Iterator[None]:
    """Let absolute imports find `folder` too, last of all, while the file runs."""
    if folder is None:
        yield
        return
    entry = str(folder)
    sys.path.append(entry)
    try:
        yield
    finally:
        if sys.path and sys.path[-1] == entry:
            del sys.path[-1]
        elif entry in sys.path:
            sys.path.remove(entry)

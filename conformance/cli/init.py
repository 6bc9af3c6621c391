"""`optconform init`: the files of a new optimizer's project, or the tests of an existing project's optimizers."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import FRAMEWORKS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.tree import Tree

    from ..scaffold.files import PlannedFile

_INDENT = 4
"""Columns by which rich indents what lies one level deeper in a tree."""


@click.command()
@click.argument("folder", default=".", type=click.Path(path_type=Path))
@click.option(
    "--framework",
    type=click.Choice(FRAMEWORKS),
    help="Whose optimizer it is; in a new project the first of torch, jax, tensorflow and numpy that is installed, "
    "in an existing one found out when it is checked.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="SPEC",
    help="Optimizer of the existing project in FOLDER: package.module:attribute, or path/to/file.py:attribute "
    "relative to FOLDER (repeatable).",
)
@click.option("--name", help="Name of a new project, which its package gets too; that of FOLDER by default.")
def init(folder: Path, framework: str | None, targets: tuple[str, ...], name: str | None) -> None:
    """Write a project for a new optimizer, or add tests to a project.

    A new project in FOLDER holds a small, sound optimizer, a test for each check, a tox environment and a job for
    GitHub. An existing one, where --target says what is tested, gets the last three. No file that is there is ever
    changed: what belongs into it is printed. Everything is written, or nothing.
    """
    from ...adapters.errors import TargetError
    from ..scaffold.errors import ScaffoldError

    try:
        if targets:
            _add(folder, targets, framework, name)
        else:
            _make(folder, framework, name)
    except (ScaffoldError, TargetError) as error:
        raise click.UsageError(str(error)) from error


def _make(folder: Path, framework: str | None, given: str | None) -> None:
    """Write a new project."""
    from ..scaffold.existing import build_file
    from ..scaffold.frameworks import choose_start
    from ..scaffold.names import project_name
    from ..scaffold.plans import new_project

    found = build_file(folder)
    if found is not None:
        raise click.UsageError(
            f"{folder} holds a project already ({found}). Name the optimizers that are to be tested, such as "
            "--target src/package/module.py:MyAdamW, or another folder for a new project."
        )
    start, why = choose_start(framework)
    name = project_name(given, folder)
    heading = f"A new project, {name}, with an optimizer for {start.title} ({why})."
    _write(folder, new_project(name, start), heading, ("pytest", "optconform check"))


def _add(folder: Path, targets: Sequence[str], framework: str | None, name: str | None) -> None:
    """Add to an existing project what tests `targets`."""
    from ..scaffold.existing import build_file
    from ..scaffold.plans import TEST, added_to_project

    if name is not None:
        raise click.UsageError("--name is for a new project; --target is for one that has its name already.")
    found = build_file(folder)
    if found is None:
        raise click.UsageError(
            f"{folder} holds no project: there is no pyproject.toml, setup.py or setup.cfg. Name the folder of the "
            "project, or leave --target out to have a new one written there."
        )
    how = ("--framework", framework) if framework else ()
    check = shlex.join(["optconform", "check", *dict.fromkeys(targets), *how])
    heading = f"Tests for the project in {folder.resolve().name} (it has a {found})."
    _write(folder, added_to_project(folder, targets, framework), heading, (f"pytest {TEST}", check))


def _write(folder: Path, files: Sequence[PlannedFile], heading: str, commands: Sequence[str]) -> None:
    """Write those of `files` that are not there, and tell what was done and what is left to do."""
    from ..reports.render import write_text
    from ..scaffold.files import require_room, write_all

    require_room(folder, files)
    kept = {file.path: file.lacking(folder) for file in files if file.text is None or file.is_there(folder)}
    write_all(folder, [file for file in files if file.path not in kept])
    write_text(lambda console: _print(console, folder, files, kept, heading, commands), None)


def _print(
    console: Console,
    folder: Path,
    files: Sequence[PlannedFile],
    kept: dict[str, tuple[str, ...]],
    heading: str,
    commands: Sequence[str],
) -> None:
    from rich.text import Text

    from ...adapters.text import escape_control

    console.print(Text(escape_control(heading)), soft_wrap=True)
    console.print()
    console.print(_tree(folder, [file for file in files if file.text is not None], kept), soft_wrap=True)
    for path, additions in kept.items():
        if additions:
            console.print(Text(f"\nTo be added to {path}:\n", "bold"), soft_wrap=True)
            console.print(Text("\n".join(additions).rstrip("\n")), soft_wrap=True)
    here = folder.resolve() == Path.cwd()
    place = "" if here else f", in {escape_control(str(folder))}"
    console.print(Text(f"\nNext{place}:\n", "bold"), soft_wrap=True)
    for command in commands:
        console.print(Text(f"  {escape_control(command)}"), soft_wrap=True)


def _tree(folder: Path, files: Sequence[PlannedFile], kept: dict[str, tuple[str, ...]]) -> Tree:
    """Return the files as a tree of their folders, each with what it holds or that it was kept."""
    from rich.text import Text
    from rich.tree import Tree

    from ...adapters.text import escape_control

    root = Tree(Text(escape_control(folder.resolve().name), "bold"))
    branches = {"": root}
    indents = {file.path: _INDENT * (1 + ("/" in file.path)) for file in files}
    column = max(indents[file.path] + len(file.path.rpartition("/")[2]) for file in files) + 2
    for file in files:
        above, _, name = file.path.rpartition("/")
        if above not in branches:
            branches[above] = root.add(Text(f"{above}/"))
        told = ("kept, it was there", "yellow") if file.path in kept else (file.about, "dim")
        branches[above].add(Text.assemble(name.ljust(column - indents[file.path]), told))
    return root

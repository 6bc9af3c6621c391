"""Do what a page of the documentation tells its reader: write its files, edit them, run its commands, compare.

    python scripts/run_pages.py                             run all; exit status 1 where something is not as it says
    python scripts/run_pages.py docs/tutorial.md --write    put what the commands print into this page

What counts is the wording: a block of code after "into `FILE`:" is written to that file, a block `diff` after "in
`FILE`:" edits it; each line of a block `sh` is run, in the same folder, and ends with the status that its comment
states (`# exit 1`) or 0; a block `text` right after it is what the last of them prints. There, a line `...` stands
for any lines, and numbers with a decimal point or an exponent, which vary with the machine and the day, are not
compared. Files below `reference/`, `adapters/`, `conformance/` or `gpu_ci/` are those of a copy of this package, with
which the commands are then run.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import optconform

DOCS = Path(__file__).parents[1] / "docs"
PAGES = ("tutorial.md", "configuration.md", "howto-ci.md", "howto-rule.md", "howto-adapter.md", "howto-check.md")
"""Pages whose commands need the files that the page makes, and are run in its order."""
FENCE = r"```{language}\n(?P<{name}>.*?)^```\n"
STEP = re.compile(
    "|".join(
        (
            r"into `(?P<file>[^`]+)`:\n\n" + FENCE.format(language=r"\w+", name="content"),
            r"[Ii]n `(?P<edited>[^`]+)`:\n\n" + FENCE.format(language="diff", name="diff"),
            r"^" + FENCE.format(language="sh", name="commands") + r"(?:\n```text\n(?P<output>.*?)^```\n)?",
        )
    ),
    re.MULTILINE | re.DOTALL,
)
VARIES = re.compile(r"\d+(?:\.\d+)+(?:e[+-]?\d+)?(?:\+\w+)?|\d+e[+-]?\d+")
"""Figures, seconds and versions."""
PACKAGE_FOLDERS = ("reference", "adapters", "conformance", "gpu_ci")
PLUGIN = "optconform.conformance.testing.plugin"
MODULES = {"optconform": ["optconform"], "pytest": ["pytest", "-p", "no:cacheprovider"], "python": []}
"""Program -> what runs it, after `python -m`; no other program is run."""
INSTALLS = ("python -m pip", "python -m venv", "tox")
"""Beginnings of commands that set up what this script itself runs in: they are left out."""


@dataclass(frozen=True)
class Command:
    """One command of a page, and how it is to end."""

    line: str
    status: int


@dataclass(frozen=True)
class Session:
    """A block of commands: where its output stands in the page, if it is shown, and what is shown."""

    commands: tuple[Command, ...]
    span: tuple[int, int] | None
    output: str


@dataclass(frozen=True)
class File:
    """A file that the reader makes; or, with `old`, edits: `old`, which stands there once, becomes `content`."""

    path: str
    content: str
    old: str | None = None


def commands_of(block: str) -> tuple[Command, ...]:
    """Return the commands of a block, with the status that each is to end with."""
    found = []
    for line in block.replace("\\\n", " ").splitlines():
        command, _, comment = line.partition("  #")
        status = re.search(r"exit (\d)", comment)
        if command.strip():
            found.append(Command(command.strip(), int(status[1]) if status else 0))
    return tuple(found)


def steps(text: str) -> Iterator[File | Session]:
    """Yield what a page tells to do, in its order."""
    for match in STEP.finditer(text):
        if match["file"]:
            yield File(match["file"], match["content"])
        elif match["edited"]:
            yield edit(match["edited"], match["diff"])
        else:
            span = match.span("output") if match["output"] is not None else None
            yield Session(commands_of(match["commands"]), span, match["output"] or "")


def edit(path: str, diff: str) -> File:
    """Return the edit that a diff describes: lines with a minus go, lines with a plus come, the others stand there."""
    lines = diff.splitlines(keepends=True)
    old, new = ("".join(line[1:] or "\n" for line in lines if line[0] != sign) for sign in "+-")
    return File(path, new, old)


def put(file: File, folder: Path) -> None:
    """Write or edit a file. Raises `ValueError` where what is to be replaced does not stand there once."""
    path = folder / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    content = file.content
    if file.old is not None:
        before = path.read_text(encoding="utf-8")
        if before.count(file.old) != 1:
            raise ValueError(f"{file.path} holds {before.count(file.old)} times, expected once:\n{file.old}")
        content = before.replace(file.old, content)
    path.write_text(content, encoding="utf-8")


def run(command: Command, folder: Path, packages: Path | None = None) -> str:
    """Run a command in `folder` and return what it prints; `packages` is a folder to import from first.

    Raises `ValueError` where it does not end as stated.
    """
    program, *arguments = shlex.split(command.line)
    if program not in MODULES:
        raise ValueError(f"{command.line}: expected one of {', '.join(MODULES)}")
    module = [part for name in MODULES[program][:1] for part in ("-m", *MODULES[program])]
    if program == "pytest" and not metadata.entry_points(group="pytest11", name="optconform"):
        module += ["-p", PLUGIN]  # from a checkout that is not installed
    environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8", "PYTEST_ADDOPTS": ""}
    if packages is not None:
        places = (str(packages), str(folder), os.environ.get("PYTHONPATH", ""))
        environment |= {"PYTHONPATH": os.pathsep.join(filter(None, places)), "PYTHONSAFEPATH": "1"}
    ran = subprocess.run(
        [sys.executable, *module, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if ran.returncode != command.status:
        raise ValueError(
            f"{command.line}: exit status {ran.returncode}, expected {command.status}\n{ran.stdout}{ran.stderr}"
        )
    return "".join(f"{line.rstrip()}\n" for line in ran.stdout.splitlines()).strip("\n") + "\n"


def says_the_same(shown: str, printed: str) -> bool:
    """Whether `printed` is what is shown, up to figures that vary, the ends of lines, and what `...` stands for."""
    parts = [re.escape(_bare(part)) for part in re.split(r"^\.\.\.$", shown, flags=re.MULTILINE)]
    return re.fullmatch(".*".join(parts), _bare(printed)) is not None


def _bare(text: str) -> str:
    """Return the words of a text, figures and rules of tables alike: as wide as they are, lines end elsewhere."""
    return " ".join(re.sub("─+", "─", VARIES.sub("#", text)).split())


def replay(text: str, folder: Path) -> Iterator[tuple[Session, str]]:
    """Do what a page says in `folder`; yield each session whose output is shown, and what it printed."""
    work, packages = folder / "work", None
    work.mkdir()
    if any(isinstance(step, File) and _of_package(step) for step in steps(text)):
        packages = folder / "packages"
        source = Path(optconform.__file__).parent
        files = (*source.glob("*.py"), *source.glob("pyproject.toml"))
        for path in (*(source / name for name in PACKAGE_FOLDERS), *files):
            copy = shutil.copytree if path.is_dir() else shutil.copy
            (packages / "optconform").mkdir(parents=True, exist_ok=True)
            copy(path, packages / "optconform" / path.name)
    for step in steps(text):
        if isinstance(step, File):
            put(step, packages / "optconform" if packages and _of_package(step) else work)
            continue
        printed = ""
        for command in step.commands:
            if not command.line.startswith(INSTALLS):
                printed = run(command, work, packages)
        if step.span is not None:
            yield step, printed


def _of_package(file: File) -> bool:
    return file.path.partition("/")[0] in PACKAGE_FOLDERS


def differences(text: str, folder: Path) -> list[str]:
    """Return what each command prints that is not what the page shows."""
    return [
        f"{session.commands[-1].line} prints\n{printed}but the page shows\n{session.output}"
        for session, printed in replay(text, folder)
        if not says_the_same(session.output, printed)
    ]


def renewed(text: str, folder: Path) -> str:
    """Return the page with what its commands print, wherever it shows something else."""
    pieces = []
    end = 0
    for session, printed in replay(text, folder):
        if session.span is not None and not says_the_same(session.output, printed):
            pieces += [text[end : session.span[0]], printed]
            end = session.span[1]
    return "".join([*pieces, text[end:]])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the pages named."""
    parser = argparse.ArgumentParser(description="Run what pages of the documentation tell their readers.")
    parser.add_argument("pages", nargs="*", type=Path, default=[DOCS / name for name in PAGES])
    parser.add_argument("--write", action="store_true", help="put what the commands print into the pages")
    options = parser.parse_args(arguments)
    found = []
    for page in options.pages:
        text = page.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder:
            if options.write:
                page.write_text(renewed(text, Path(folder)), encoding="utf-8")
            else:
                found += differences(text, Path(folder))
    print("\n".join(found), end="")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

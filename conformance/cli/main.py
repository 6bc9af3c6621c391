"""`optconform`: the command group, and the exit status of everything that can go wrong."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

import click

_COMMANDS = {
    "check": ("check", "check"),
    "audit": ("audit", "audit"),
    "compare": ("compare", "compare"),
    "survey": ("survey", "survey"),
    "report": ("report", "report"),
    "trace": ("trace", "trace"),
    "init": ("init", "init"),
    "rules": ("rules", "rules"),
    "explain": ("rules", "explain"),
    "doctor": ("doctor", "doctor"),
}
"""Command -> (module of this package, its attribute), imported when the command is named."""


READER_GONE = 141
"""Exit status where standard output was closed before all was written: 128 + SIGPIPE, as of `ls | head -1`.

Not 0, which says that all is as expected, nor another that says something of an optimizer: with `pipefail` a pipeline
that lost the answer neither passes nor blames the target.
"""


class _ReaderGone(Exception):
    """Whoever read standard output has closed it."""


@contextlib.contextmanager
def _reader_may_go() -> Iterator[None]:
    """Raise `_ReaderGone` for a broken pipe, before click makes of it an exit status that means something else."""
    try:
        yield
    except BrokenPipeError as error:
        raise _ReaderGone from error


class _LazyGroup(click.Group):
    """A group that imports a command's module only when it is needed."""

    added: Mapping[str, tuple[str, str]] = {}
    """Commands of packages above this one: name -> (module in full, its attribute)."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_COMMANDS, *self.added]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.added:
            module, attribute = self.added[cmd_name]
        elif cmd_name in _COMMANDS:
            module, attribute = f"{__package__}.{_COMMANDS[cmd_name][0]}", _COMMANDS[cmd_name][1]
        else:
            return None
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        with _reader_may_go():  # --help and --version print here
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _reader_may_go():
            return super().invoke(ctx)


def _print_version(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from ..._version import __version__

        click.echo(f"optconform {__version__}")
        context.exit()


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit status: 0 as expected; 1 not as expected; 2 the command, configuration or a trace is wrong; "
    "3 a target, framework or device could not run; 4 nothing could be decided; 5 (gate) not comparable.",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def cli() -> None:
    """Tell what an optimizer really does with weight decay, and prove it with numbers."""


def main(arguments: Sequence[str] | None = None, added: Mapping[str, tuple[str, str]] | None = None) -> int:
    """Run the command line and return its exit status; messages about errors go to standard error.

    `added` are commands of packages that stand above this one: name -> (module in full, its attribute). Whatever the
    encoding of the standard streams, all text can be written to them; where nobody reads standard output any more,
    the command ends quietly with `READER_GONE`.
    """
    from ..reports.encodings import prepare

    for stream in (sys.stdout, sys.stderr):
        prepare(stream)
    try:
        status = _status(arguments, added)
        if sys.stdout is not None:
            sys.stdout.flush()
    except (_ReaderGone, BrokenPipeError):
        _drop_output()
        return READER_GONE
    except OSError as error:  # a full disk, which shows when what was buffered is written
        _drop_output()
        click.echo(f"Error: standard output cannot be written ({error.strerror})", err=True)
        return 2
    return status


def _drop_output() -> None:
    """Send what is still buffered for standard output nowhere: to write it would raise when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _status(arguments: Sequence[str] | None, added: Mapping[str, tuple[str, str]] | None) -> int:
    assert isinstance(cli, _LazyGroup)
    cli.added = added or {}
    try:
        status = cli.main(args=None if arguments is None else list(arguments), standalone_mode=False)
    except click.exceptions.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except _ReaderGone:
        raise
    except Exception as error:
        known = _status_of(error)
        if known is None:
            raise
        click.echo(f"Error: {str(error) or type(error).__name__}", err=True)
        return known
    return int(status or 0)


def _status_of(error: Exception) -> int | None:
    """Return the exit status of an error that is the user's to mend; None for a bug of ours."""
    from ...adapters.errors import MissingDevice, MissingExtra, MissingFramework, TargetError
    from ..configuration.errors import ConfigurationError
    from ..expectation import InvalidExpectation
    from ..reports.document_error import DocumentError
    from ..result import ExitStatus
    from ..traces import TraceError

    if isinstance(error, TargetError | ConfigurationError | InvalidExpectation | TraceError | DocumentError):
        return ExitStatus.USAGE
    if isinstance(error, MissingFramework | MissingDevice | MissingExtra | MemoryError):
        return ExitStatus.COULD_NOT_RUN
    # Files and folders that the user named, and nothing else, are what the commands open.
    if isinstance(error, OSError):
        return ExitStatus.USAGE
    return None

"""`optconform`: the command group, and the exit status of everything that can go wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module

import click

_COMMANDS = {
    "check": ("check", "check"),
    "audit": ("audit", "audit"),
    "compare": ("compare", "compare"),
    "survey": ("survey", "survey"),
    "report": ("report", "report"),
    "trace": ("trace", "trace"),
    "rules": ("rules", "rules"),
    "explain": ("rules", "explain"),
    "doctor": ("doctor", "doctor"),
}
"""Command -> (module of this package, its attribute), imported when the command is named."""


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

    `added` are commands of packages that stand above this one: name -> (module in full, its attribute).
    """
    assert isinstance(cli, _LazyGroup)
    cli.added = added or {}
    try:
        status = cli.main(args=None if arguments is None else list(arguments), standalone_mode=False)
    except click.exceptions.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
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
    from ..expectation import InvalidExpectation
    from ..reports.document_error import DocumentError
    from ..result import ExitStatus
    from ..traces import TraceError

    if isinstance(error, TargetError | InvalidExpectation | TraceError | DocumentError):
        return ExitStatus.USAGE
    if isinstance(error, MissingFramework | MissingDevice | MissingExtra | MemoryError):
        return ExitStatus.COULD_NOT_RUN
    # Files and folders that the user named, and nothing else, are what the commands open.
    if isinstance(error, OSError):
        return ExitStatus.USAGE
    return None

"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import ast
import contextlib
import math
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..choices import DTYPES, MODES
from ..workers.limits import DEFAULT_TIMEOUT, MOST_MEMORY

if TYPE_CHECKING:
    from ..configuration.values import Configuration
    from ..result import Counting
    from ..workers.limits import Limits

    _ParamType = click.ParamType[Any]
else:  # generic from click 8.3 on
    _ParamType = click.ParamType

FRAMEWORKS = ("numpy", "torch", "tensorflow", "jax")
FORMATS = ("text", "json")
RUN_FORMATS = (*FORMATS, "junit", "markdown", "html")
"""These stand here as plain data, so that `--help` imports neither adapters nor NumPy."""

_Command = TypeVar("_Command", bound=Callable[..., Any])


class Assignment(_ParamType):
    """`name=value`, the value a Python literal."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        """Return (name, value)."""
        name, separator, literal = str(value).partition("=")
        if not separator or not name.isidentifier():
            self.fail(f"{value!r} should be NAME=VALUE, for example momentum=0.9", param, ctx)
        try:
            return name, ast.literal_eval(literal)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            self.fail(
                f"{literal!r} in {value!r} is no Python literal; write a number, True, None, a (tuple) or, for a "
                f"string, quotes inside the shell's: {name}=\"'text'\"",
                param,
                ctx,
            )


class Renaming(_ParamType):
    """`canonical=NAME`."""

    name = "canonical=NAME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Return (canonical name, the target's own name)."""
        canonical, separator, own = str(value).partition("=")
        if not separator or not canonical.isidentifier() or not own.isidentifier():
            self.fail(f"{value!r} should be CANONICAL=NAME, for example lr=step_length", param, ctx)
        return canonical, own


class StepRange(_ParamType):
    """`A:B` or `A:B:N`: steps A, A+N, ... before B."""

    name = "A:B[:N]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> range:
        """Return the range; whether it holds a step is not for the command line to say."""
        numbers = str(value).split(":")
        well_formed = len(numbers) in (2, 3) and all(each.isascii() and each.isdigit() for each in numbers)
        if not well_formed or (len(numbers) == 3 and int(numbers[2]) == 0):
            self.fail(f"{value!r} should be A:B or A:B:N with N above 0, for example 1000:1020", param, ctx)
        return range(*map(int, numbers))


class Amount(click.FloatRange):
    """A finite number in a range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number; `nan` lies in no range, and would pass every one."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


def _stack(*decorators: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    def apply(command: _Command) -> _Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return apply


trace_option = click.option(
    "--trace",
    "trace_names",
    multiple=True,
    metavar="TRACE",
    help="Name, path or address of a trace to replay (repeatable).  [default: the first three of `trace list`]",
)

TRACE_HELP = (
    "TRACE is the name of a shipped trace, synthetic:KIND[:SEED], generated:SIZE[:SEED[:STEPS]], "
    "or the path or address of a trace."
)
"""What the `trace` commands say below their options."""

target_options = _stack(
    click.option("--framework", type=click.Choice(FRAMEWORKS), help="Whose optimizer it is; found out by default."),
    click.option("--device", default="cpu", show_default=True, help="cpu, cuda or gpu:N."),
    click.option(
        "--dtype", type=click.Choice(DTYPES), help="Precision it works in; float64 unless it is known to refuse that."
    ),
    click.option(
        "--mode", type=click.Choice(MODES), help="What the reference takes over in each step; chosen by default."
    ),
    click.option(
        "--paths",
        "path",
        metavar="NAME",
        help="How a step is executed: loop, foreach, eager, function, compiled ...; audit compares the others with "
        "it, those that compile only if NAME is one of them or `all`. PyTorch's `compiled` is compared only.",
    ),
    click.option("--set", "settings", multiple=True, type=Assignment(), help="Constructor option, a Python literal."),
    click.option("--map", "renamings", multiple=True, type=Renaming(), help="Which option is lr, weight_decay ..."),
    trace_option,
    click.option(
        "--expect", "expected", metavar="EXPECTATION", help="VERDICT[,law=..][,order=..][,epsilon=..][,momentum=..]."
    ),
    click.option("--select", multiple=True, metavar="CODE", help="Count these findings only."),
    click.option("--ignore", multiple=True, metavar="CODE", help="Do not count these findings."),
)
"""What says which optimizer is audited, how, and what counts."""

configuration_options = _stack(
    click.option(
        "--config",
        type=click.Path(dir_okay=False, exists=True),
        metavar="FILE",
        help="Read [tool.optconform] there, not in the nearest pyproject.toml that has it.",
    ),
    click.option("--no-config", is_flag=True, help="Read no configuration."),
)
"""Whose configuration applies where no target is named."""


def choose_format(*formats: str) -> Callable[[_Command], _Command]:
    """Return the option that chooses one of `formats`, the first by default."""
    return click.option("--format", "output_format", type=click.Choice(formats), default=formats[0], show_default=True)


format_option = choose_format(*FORMATS)
"""Text for people, or one JSON document."""

output_option = click.option(
    "--output", type=click.Path(dir_okay=False), metavar="FILE", help="Write the result there instead."
)


def output_options(*formats: str) -> Callable[[_Command], _Command]:
    """Return the options for where results go, and in which of `formats`."""
    return _stack(
        choose_format(*formats),
        output_option,
        click.option("-v", "--verbose", is_flag=True, help="Show the evidence too."),
    )


def limit_options(timeout: float = DEFAULT_TIMEOUT) -> Callable[[_Command], _Command]:
    """Return the options for what the process may use in which a target runs; `timeout` is the default."""
    return _stack(
        click.option(
            "--timeout",
            type=Amount(min=0.0, min_open=True),
            default=timeout,
            show_default=True,
            metavar="SECONDS",
            help="Time for one target, its import included.",
        ),
        click.option(
            "--memory",
            type=Amount(min=0.0, min_open=True, max=MOST_MEMORY),
            metavar="GB",
            help="Memory for one target, on Linux; half of this machine's by default.",
        ),
    )


def worker_options(timeout: float = DEFAULT_TIMEOUT) -> Callable[[_Command], _Command]:
    """Return the options for that process and what runs in it."""
    return _stack(
        limit_options(timeout),
        click.option(
            "--python",
            metavar="PATH",
            help="Interpreter that runs the targets: it needs numpy, ml_dtypes, safetensors, click, rich and the "
            "framework, not this package; this one by default.",
        ),
    )


def parse_limits(timeout: float, memory: float | None, python: str | None, device: str) -> Limits:
    """Return the limits of targets on `device`; say aloud where memory is not limited."""
    from ..workers.limits import Limits, unlimited_memory

    why = unlimited_memory(device)
    if why is not None:
        click.echo(why, err=True)
    return Limits(timeout, memory, python)


def parse_counting(
    select: tuple[str, ...], ignore: tuple[str, ...], configuration: Configuration | None = None
) -> Counting:
    """Return which codes count under `--select` and `--ignore`; an unknown code is a usage error.

    Of a configuration, `--select` replaces what it selects, and `--ignore` adds to what it ignores.
    """
    from ..codes import CODES
    from ..result import Counting

    for code in (*select, *ignore):
        if code not in CODES:
            raise click.UsageError(f"unknown code {code!r}; `optconform rules` lists all")
    return Counting(select, ignore) if configuration is None else configuration.counting(select, ignore)


def require_target(options: Mapping[str, Any], why: str) -> None:
    """Raise a usage error for the first of `options` (name -> value) that was given: there is no target for it."""
    for option, given in options.items():
        if given:
            raise click.UsageError(f"{option} needs a TARGET: {why}")


def parse_configuration(config: str | None, no_config: bool, unused: str = "") -> Configuration:
    """Return the configuration that applies, and say aloud which; the empty one where there is none.

    `unused` says why none applies, where that is so; then it is a usage error to name one.
    """
    from ..configuration.paths import shown_path
    from ..configuration.reading import find_configuration
    from ..configuration.values import Configuration

    if config is not None and (no_config or unused):
        raise click.UsageError(f"--config does not go with {'--no-config' if no_config else unused}")
    if no_config or unused:
        return Configuration()
    configuration = find_configuration(config)
    if configuration.file is not None:
        click.echo(f"configuration: {shown_path(configuration.file)}", err=True)
    return configuration


def target_output_aside() -> contextlib.AbstractContextManager[object]:
    """Send what a target prints to standard error: standard output is for the result and nothing else."""
    return contextlib.redirect_stdout(sys.stderr)

"""A comparison of two optimizers as text: the answer, both sides, every difference, and what would mend it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...adapters.text import escape_control
from ..axis_differences import Difference
from ..compare_result import CompareResult, Outcome, Side
from ..explaining import NAMES, shown_values

_STYLES = {
    Outcome.SAME: "green",
    Outcome.DIFFERENT: "bold red",
    Outcome.CANNOT_TELL: "bold yellow",
    Outcome.ERROR: "bold red",
}
_NOTHING = "-"


def print_compare(console: Console, result: CompareResult, titles: tuple[str, str], *, verbose: bool) -> None:
    """Print the outcome and its reason, then what each follows, how they differ, and the translation.

    `verbose` adds the versions and the hyperparameters as each holds them.
    """
    console.print(Text.assemble("A ", (escape_control(titles[0]), "bold")), soft_wrap=True)
    console.print(Text.assemble("B ", (escape_control(titles[1]), "bold")), soft_wrap=True)
    outcome = Text(str(result.outcome), _STYLES[result.outcome])
    console.print(Text.assemble(outcome, f": {escape_control(result.reason)}"), soft_wrap=True)
    for label, value in _facts(result, verbose=verbose):
        console.print(Text(f"  {label:<12} {escape_control(value)}"), soft_wrap=True)
    if result.differences:
        console.print(_difference_table(result.differences))
    if result.translation is not None:
        message = f"  {'translation':<12} {result.translation.message}"
        console.print(Text(escape_control(message)), soft_wrap=True)
    if result.rerun:
        console.print(Text(f"rerun: {escape_control(result.rerun)}", "dim"), soft_wrap=True)


def _facts(result: CompareResult, *, verbose: bool) -> list[tuple[str, str]]:
    facts = []
    for name, side in zip(NAMES, (result.first, result.second), strict=True):
        facts.append((f"{name} follows", _follows(side)))
        if verbose:
            facts.append((f"{name} holds", _settings(side.hyperparameters)))
            facts.append((f"{name} runs on", _versions(side)))
    if result.elements:
        allowed = f"the bound of {result.judged_by}" if result.judged_by else "what rounding explains"
        farthest = _NOTHING if result.ratio is None else f"{result.ratio:.2g}"
        facts.append(("distance", f"{farthest} of {allowed}; {result.elements:,} elements in {result.dtype}"))
    facts.append(("traces", ", ".join(f"{trace['name']} ({trace['sha256'][:12]})" for trace in result.traces)))
    return facts


def _follows(side: Side) -> str:
    if side.rule is None:
        return "no rule of the reference"
    axes = "".join(f", {axis.replace('_', ' ')} {value}" for axis, value in side.axes.items())
    near = "" if side.bound_ratio is None else f" ({side.bound_ratio:.2g} of its bound)"
    return f"{side.rule}{axes}{near}"


def _versions(side: Side) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in side.versions.items())
    return f"{side.framework}, path {side.path}: {versions}"


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items() if value is not None) or "defaults"


def _difference_table(differences: tuple[Difference, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="differences", title_justify="left")
    for heading in ("axis", "A", "B", "shows alone"):
        table.add_column(heading, overflow="fold")
    for each in differences:
        one, other = shown_values(each)
        table.add_row(each.name, Text(escape_control(one)), Text(escape_control(other)), _shows(each))
    return table


def _shows(difference: Difference) -> str:
    """Return whether the difference alone takes A's rule off A's path."""
    if difference.shows is None:
        return "not tried"
    if not difference.shows:
        return "no"
    return "yes" if difference.step is None else f"from step {difference.step} on"

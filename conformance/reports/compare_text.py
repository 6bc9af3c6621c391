"""A comparison of two optimizers as text: the answer, both sides, every difference, and what would mend it."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from ..axis_differences import Difference
from ..compare_result import CompareResult, Outcome, Side
from ..explaining import NAMES, shown_values
from .layout import Column, Row, print_command, print_prose, print_table
from .scope import left_out
from .wording import settings_of, traces_of, versions_of

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
    for name, title in zip(NAMES, titles, strict=True):
        print_prose(console, title, label=f"{name} ", style="bold")
    style = _STYLES[result.outcome]
    print_prose(console, result.reason, label=f"{result.outcome}: ", label_style=style, hang=2)
    console.print()
    for label, value in _facts(result, verbose=verbose):
        print_prose(console, value, indent=2, label=f"{label:<13}", label_style="dim")
    if result.differences:
        console.print()
        _print_differences(console, result.differences)
    if result.translation is not None:
        console.print()
        print_prose(console, result.translation.message, indent=2, label="translation  ", label_style="dim")
    console.print()
    print_prose(console, _not_compared(result), hang=2)
    if result.rerun:
        print_command(console, "rerun: ", result.rerun)


def _facts(result: CompareResult, *, verbose: bool) -> list[tuple[str, str]]:
    facts = []
    for name, side in zip(NAMES, (result.first, result.second), strict=True):
        facts.append((f"{name} follows", _follows(side)))
        if verbose:
            facts.append((f"{name} holds", settings_of(side.hyperparameters) or "defaults"))
            facts.append((f"{name} runs on", _versions(side)))
    if result.elements:
        allowed = f"the bound of {result.judged_by}" if result.judged_by else "what rounding explains"
        farthest = _NOTHING if result.ratio is None else f"{result.ratio:.2g}"
        facts.append(("distance", f"{farthest} of {allowed}; {result.elements:,} elements in {result.dtype}"))
    facts.append(("traces", traces_of(result.traces)))
    return facts


def _follows(side: Side) -> str:
    if side.rule is None:
        return "no rule of the reference"
    axes = "".join(f", {axis.replace('_', ' ')} {value}" for axis, value in side.axes.items())
    near = "" if side.bound_ratio is None else f" ({side.bound_ratio:.2g} of its bound)"
    return f"{side.rule}{axes}{near}"


def _versions(side: Side) -> str:
    return f"{side.framework}, path {side.path}: {versions_of(side.versions)}"


def _print_differences(console: Console, differences: tuple[Difference, ...]) -> None:
    console.print(Text("differences", "bold"), soft_wrap=True)
    columns = [Column(heading) for heading in (*NAMES, "shows alone")]
    print_table(console, "axis", columns, [Row(each.name, (*shown_values(each), _shows(each))) for each in differences])


def _shows(difference: Difference) -> str:
    """Return whether the difference alone takes A's rule off A's path."""
    if difference.shows is None:
        return "not tried"
    if not difference.shows:
        return "no"
    return "yes" if difference.step is None else f"from step {difference.step} on"


def _not_compared(result: CompareResult) -> str:
    return f"NOT COMPARED: {'; '.join(left_out([result.dtype], [result.device]))}."

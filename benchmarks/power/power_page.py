"""The tables of the documentation's page, made from a result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from power_verdict import BELOW_ROUNDING

BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
"""What stands between these two lines of a page is made here."""
EARLY = 100
"""The steps of the first figure of a cell."""
IN_FULL = "float32"
"""The precision whose matrices are shown; of the others, what is nearest to each rule."""
SAME_ALGEBRA, TOO_NEAR = "≡", "~"


def renewed(page: str, document: dict[str, Any]) -> str:
    """Return `page` with its tables made anew. Raises `ValueError` where the two marks are missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page must hold the lines {BEGIN!r} and {END!r}, in this order; put them in")
    return f"{before}{begin}\n\n{tables(document)}\n{end}{after}"


def tables(document: dict[str, Any]) -> str:
    """Return everything that is made from a result, as Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    about = (
        f"{document['elements']} elements, {document['steps']} steps, seed {document['seed']}; "
        f"{document['date']}, {versions}. "
        f"All truths within the bound of their own rule: {_yes(not document['requirement']['outside_the_own_bound'])}. "
        f"Nothing undecided in float32 at probe values from {EARLY} steps on but identities: "
        f"{_yes(document['requirement']['all_told_where_judged'])}."
    )
    parts = [about, "### Pairs that cannot be told apart\n", "\n".join(_counts(document["runs"]))]
    for run in document["runs"]:
        if run["dtype"] == IN_FULL:
            parts += [f"### {run['dtype']}, {run['setting']} values: {run['family']}\n", "\n".join(_matrix(run))]
    others = [run for run in document["runs"] if run["dtype"] != IN_FULL]
    for dtype, setting in dict.fromkeys((run["dtype"], run["setting"]) for run in others):
        same = [run for run in others if (run["dtype"], run["setting"]) == (dtype, setting)]
        parts += [f"### {dtype}, {setting} values\n", "\n".join(_nearest(same))]
    parts += ["### Why they cannot\n", "\n".join(_reasons(document["runs"]))]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _counts(runs: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the table of how many pairs are undecided, below rounding and by identity, at every checkpoint."""
    steps = [checkpoint["steps"] for checkpoint in runs[0]["checkpoints"]]
    yield from _head(["dtype", "values", "optimizer", "pairs", *(f"after {n} steps" for n in steps), "identities"])
    for run in runs:
        last = run["checkpoints"][-1]
        rules = next(iter(last["factors"].values()))
        pairs = sum(rule != own for own in run["own"].values() for rule in rules)
        below = [_classes(checkpoint)[BELOW_ROUNDING] for checkpoint in run["checkpoints"]]
        identities = len(last["undecided"]) - below[-1]
        yield _row([run["dtype"], run["setting"], run["family"], pairs, *below, identities])


def _matrix(run: dict[str, Any]) -> Iterator[str]:
    """Yield the confusion matrix of one run: a row per truth, a column per rule."""
    early, last = _early(run), run["checkpoints"][-1]
    marks = {(pair["truth"], pair["rule"]): _mark(pair) for pair in last["undecided"]}
    rules = list(next(iter(last["factors"].values())))
    yield from _head(["truth", *rules])
    for truth, row in last["factors"].items():
        cells = []
        for rule in rules:
            shown = dict.fromkeys((_figure(early["factors"][truth][rule]), _figure(row[rule])))
            figures = " → ".join(shown)
            mark = marks.get((truth, rule))
            own = run["own"][truth] == rule
            cells.append(f"**{_figure(row[rule])}**" if own else figures if mark is None else mark)
        yield _row([truth, *cells])


def _nearest(runs: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the table of what is nearest to every rule and still told from it, and of what is not told from it."""
    steps = runs[0]["checkpoints"][-1]["steps"]
    yield from _head(["optimizer", "rule", f"nearest truth told from it, after {steps} steps", "factor", "not told"])
    for run in runs:
        last = run["checkpoints"][-1]
        for rule in next(iter(last["factors"].values())):
            marks = {pair["truth"]: _mark(pair) for pair in last["undecided"] if pair["rule"] == rule}
            told = {
                truth: row[rule] if row[rule] is not None else float("inf")
                for truth, row in last["factors"].items()
                if run["own"][truth] != rule and truth not in marks
            }
            nearest = min(told, key=told.__getitem__, default=None)
            factor = "" if nearest is None else _figure(told[nearest])
            not_told = ", ".join(f"{truth} {mark}" for truth, mark in marks.items())
            yield _row([run["family"], rule, nearest or "", factor, not_told])


def _reasons(runs: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the table of reasons, with the number of undecided pairs to which each applies after all steps."""
    found = Counter(
        (run["dtype"], run["setting"], reason) if pair["class"] == BELOW_ROUNDING else ("all", "all", reason)
        for run in runs
        for pair in run["checkpoints"][-1]["undecided"]
        for reason in pair["reasons"]
    )
    yield from _head(["dtype", "values", "reason", "pairs"])
    for (dtype, setting, reason), pairs in found.items():
        yield _row([dtype, setting, reason, pairs])


def _early(run: dict[str, Any]) -> dict[str, Any]:
    """Return the checkpoint of the first figure of a cell; the last one of a run that ended before."""
    checkpoints: list[dict[str, Any]] = run["checkpoints"]
    return next((each for each in checkpoints if each["steps"] == EARLY), checkpoints[-1])


def _classes(checkpoint: dict[str, Any]) -> Counter[str]:
    return Counter(pair["class"] for pair in checkpoint["undecided"])


def _mark(pair: dict[str, Any]) -> str:
    return TOO_NEAR if pair["class"] == BELOW_ROUNDING else SAME_ALGEBRA


def _figure(value: float | None) -> str:
    """Return one to three digits; infinity for None, as in a result."""
    if value is None or value == float("inf"):
        return "∞"
    if value < 999.5:
        return f"{value:.2f}" if value < 10.0 else f"{value:.0f}"
    mantissa, _, exponent = f"{value:.0e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def _yes(met: bool | None) -> str:
    return {True: "yes", False: "**no**", None: "not judged"}[met]


def _head(titles: Sequence[str]) -> Iterator[str]:
    yield _row(titles)
    yield _row(["---"] * len(titles))


def _row(cells: Iterable[Any]) -> str:
    """Return one line of a table; a star in a name is no emphasis."""
    shown = (str(cell) if str(cell).startswith("**") else str(cell).replace("*", "\\*") for cell in cells)
    return f"| {' | '.join(shown)} |"

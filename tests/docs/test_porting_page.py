"""The tables of docs/howto-porting.md are what audits and comparisons find."""

import re
from pathlib import Path

import pytest

import optconform
from optconform.adapters.options import default_of
from optconform.conformance.api import make_subject

PAGE = Path(__file__).parents[2] / "docs/howto-porting.md"
MARKS = {"torch": pytest.mark.torch, "keras": pytest.mark.tensorflow, "optax": pytest.mark.jax}
ADAM = {"lr": 1e-3, "weight_decay": 0.1, "eps": 1e-8}
SGD = {"lr": 0.1, "weight_decay": 0.1, "momentum": 0.9}
TRACE = "synthetic:small"
"""Another learning rate in every step, and a gradient for every parameter."""
HOLDS = {"lr_outside": "gradients", "lr_inside": "steps", None: "-"}


def rows(heading):
    """The cells of the table that begins with `heading`, an item for each row."""
    text = PAGE.read_text(encoding="utf-8")
    table = re.search(rf"^\| {re.escape(heading)} \|.*?\n\|---.*?\n(.*?)\n\n", text, re.MULTILINE | re.DOTALL)
    for line in table[1].splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        cells = [re.sub(r"^(?=optax_chains:)", "optconform.adapters.", cell) for cell in cells]
        marks = [mark for name, mark in MARKS.items() if any(name in cell for cell in cells[:2])]
        yield pytest.param(cells, marks=marks, id="-".join(cell.rpartition(":")[2] for cell in cells[:2] if cell))


def frameworks(*targets):
    for target in targets:
        name = next(name for name in MARKS if name in target)
        pytest.importorskip(name)


def values_of(target):
    return SGD if target.lower().rpartition(":")[2].startswith("sgd") else ADAM


@pytest.mark.parametrize("cells", list(rows("optimizer")))
def test_what_the_options_mean(cells):
    target, *shown = cells
    frameworks(target)
    result = optconform.audit(
        target, expect="any", dtype="float32", traces=[TRACE], metamorphic=False, **values_of(target)
    )
    decay = result.decay
    follows = {True: "yes", False: "no", None: "-"}[decay.follows_schedule]
    found = [result.verdict, decay.law or "-", follows, result.match.epsilon or "-", HOLDS[result.match.momentum]]
    subject = make_subject(target)
    defaults = [default_of(subject.target, name) for name in ("lr", "weight_decay", "eps")]
    written = ["none" if not isinstance(each, int | float) else f"{each:g}" for each in defaults]
    if values_of(target) is SGD:
        written[2] = "-"
    assert shown == [*map(str, found), ", ".join(written)]


@pytest.mark.parametrize("cells", list(rows("from")))
def test_what_carries_over(cells):
    first, second, outcome, differences = cells
    frameworks(first, second)
    result = optconform.compare(first, second, dtype="float32", traces=[TRACE], **values_of(first))
    showing = [each.name for each in result.differences if each.shows]
    assert ("same" if result.outcome == "same" else "differs", ", ".join(showing)) == (outcome, differences)

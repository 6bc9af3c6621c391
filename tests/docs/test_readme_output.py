"""The output that the README shows is what the main job prints, up to the distances, which vary with the machine."""

import json
import re
from pathlib import Path

import pytest

from optconform.conformance.builtin_targets import BUILTIN_TARGETS
from optconform.conformance.cli.main import main
from optconform.conformance.planned import title_of
from optconform.conformance.result import Verdict

README = Path(__file__).parents[2] / "README.md"


def shown_rows():
    """(optimizer, verdict, law, order, epsilon) of every row of the table; long names go on in the next line."""
    text = README.read_text(encoding="utf-8")
    table = re.search(r"^```text\noptimizer .*?\n\u2500+\n(.*?)\n\n", text, re.MULTILINE | re.DOTALL)
    assert table, "the README shows no table of optimizers"
    rows = []
    for line in table[1].splitlines():
        cells = re.split(r" {2,}", line.strip())
        if len(cells) > 1 and cells[1] in set(Verdict):
            rows.append(cells[:5])
        else:
            rows[-1][0] += f" {cells[0]}"
    return rows


@pytest.mark.torch
@pytest.mark.tensorflow
@pytest.mark.jax
def test_readme_shows_what_check_finds(capsys):
    for module in ("torch", "keras", "optax"):
        pytest.importorskip(module)
    status = main(["check", "--format", "json"])
    report = json.loads(capsys.readouterr().out)
    assert status == 0
    titles = [title_of(row.spec, row.options, row.path) for row in BUILTIN_TARGETS]
    found = [
        [
            title.removeprefix("optconform.adapters."),
            result["verdict"],
            result["decay"]["law"] or "-",
            result["decay"]["applied_to"] or "-",
            result["match"]["epsilon"] or "-",
        ]
        for title, result in zip(titles, report["results"], strict=True)
    ]
    assert shown_rows() == found
    elements = sum(result["elements"] for result in report["results"])
    told = " ".join(README.read_text(encoding="utf-8").split())
    assert f"{len(found)} optimizers: {len(found)} as expected, 0 not" in told
    assert f"{elements:,} elements compared in float64 on cpu" in told

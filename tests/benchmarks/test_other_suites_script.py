"""The table of docs/other-suites.md is what the script finds, and its criteria can tell something."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("other_suites", ROOT / "benchmarks/other_suites.py")
other_suites = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = other_suites  # dataclasses look their own module up
SPEC.loader.exec_module(other_suites)


@pytest.fixture(scope="module")
def rows():
    return other_suites.table()


def test_page_holds_the_table(rows):
    page = (ROOT / "docs/other-suites.md").read_text(encoding="utf-8")
    shown = page.partition(other_suites.BEGIN)[2].partition(other_suites.END)[0]
    assert shown.strip().splitlines() == rows


def test_a_criterion_that_rejects_the_sound_optimizer_is_no_criterion(monkeypatch):
    monkeypatch.setattr(other_suites, "SUITES", {"broken": lambda make: False})
    with pytest.raises(SystemExit, match="broken: rejects the sound optimizer"):
        other_suites.table()


def test_the_audit_finds_every_fault_of_the_decay(rows):
    (audit,) = (row for row in rows if "optconform audit" in row)
    assert audit.count("**caught**") == len(other_suites.FAULTS) - 1
    assert audit.endswith("missed |")  # the step of a class that is not known

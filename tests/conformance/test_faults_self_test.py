"""`doctor --self-test`: what it counts, when it fails, and the documentation's page of it."""

import json
import subprocess
import sys
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

from optconform.conformance import audit as audit_module
from optconform.conformance.cli import doctor as doctor_module
from optconform.conformance.cli.main import main
from optconform.conformance.faults import self_test
from optconform.conformance.faults.page import page
from optconform.conformance.faults.self_test import Judged, SelfTest, collection, judged
from optconform.conformance.faults.sound import SOUND
from optconform.conformance.faults.table import PLANTED
from optconform.conformance.result import ExitStatus

PAGE = Path(__file__).parents[2] / "docs/faults.md"
SCHEMA = json.loads(
    resources.files("optconform.conformance").joinpath("schema/self-test-1.schema.json").read_text("utf-8")
)
FEW = [row for row in PLANTED if row.name in {"numpy-sgdw-ignored", "numpy-lion-twice", "numpy-lion-exclusion_ignored"}]
FEW += [row for row in SOUND if row.name == "numpy-rewritten-Lion"]


@pytest.fixture
def few(monkeypatch):
    """Four rows in place of all."""
    monkeypatch.setattr(self_test, "collection", lambda frameworks: [row for row in FEW if row.framework in frameworks])


def row(name, kind, wrong=(), framework="numpy"):
    return Judged(name, framework, kind, "OC102" if kind == "planted" else None, "expected: any", tuple(wrong), 0.5)


class TestCounts:
    def test_of_each_framework(self):
        report = SelfTest(
            (
                row("a", "planted"),
                row("b", "planted", ["missed"]),
                row("c", "sound"),
                row("d", "sound", framework="jax"),
            )
        )
        assert [(t.framework, t.found, t.planted, t.false_alarms, t.sound) for t in report.tallies] == [
            ("numpy", 1, 2, 0, 1),
            ("jax", 0, 0, 0, 1),
        ]

    @pytest.mark.parametrize(
        ("rows", "status"),
        [
            ((row("a", "planted"), row("b", "sound")), ExitStatus.AS_EXPECTED),
            ((row("a", "planted", ["missed"]), row("b", "sound")), ExitStatus.NOT_AS_EXPECTED),
            ((row("a", "planted"), row("b", "sound", ["OC101 fired"])), ExitStatus.NOT_AS_EXPECTED),
            ((), ExitStatus.UNDECIDED),
        ],
    )
    def test_exit_status(self, rows, status):
        assert SelfTest(rows).exit_status is status

    def test_collection_has_every_row_of_the_frameworks_asked_for(self):
        names = [row.name for row in collection(("jax", "torch"))]
        assert sorted(names) == sorted(row.name for row in (*PLANTED, *SOUND) if row.framework in ("jax", "torch"))


@pytest.mark.numpy
class TestRun:
    def test_all_is_found(self):
        assert [(each.name, each.wrong) for each in judged(FEW)] == [(row.name, ()) for row in FEW]

    def test_a_tool_that_finds_nothing_is_found_out(self, monkeypatch):
        monkeypatch.setattr(audit_module, "findings_of", lambda observed: ())
        monkeypatch.setattr(audit_module, "metamorphic_checks", lambda *arguments: ((), ()))
        *planted, sound = judged(FEW)
        assert all(f"{row.code} did not fire" in each.wrong[0] for row, each in zip(FEW[:3], planted, strict=True))
        assert sound.wrong == ()

    def test_a_tool_that_accuses_everyone_is_found_out(self, monkeypatch):
        finding = audit_module.make_finding("OC101", "always")
        monkeypatch.setattr(audit_module, "findings_of", lambda observed: (finding,))
        assert all("OC101" in each.wrong[0] for each in judged(FEW))

    def test_an_audit_that_raises_is_a_fault_missed_and_the_rest_go_on(self, monkeypatch):
        def broken(found):
            raise RuntimeError("out of order")

        monkeypatch.setattr(self_test, "run_planted", broken)
        *planted, sound = judged(FEW)
        assert all("the audit raised RuntimeError: out of order" in each.wrong[0] for each in planted)
        assert sound.wrong == ()


@pytest.mark.numpy
class TestCommand:
    def test_says_what_was_found(self, few, capsys):
        assert main(["doctor", "--self-test", "--framework", "numpy"]) == 0
        shown = capsys.readouterr().out
        assert ["numpy", "3", "3", "0", "1"] in [line.split() for line in shown.splitlines()]
        assert "every planted fault was found" in shown

    def test_json_is_as_the_schema_says(self, few, capsys):
        assert main(["doctor", "--self-test", "--framework", "numpy", "--format", "json"]) == 0
        document = json.loads(capsys.readouterr().out)
        jsonschema.Draft202012Validator(SCHEMA).validate(document)
        assert set(document) == set(SCHEMA["properties"])
        for part in ("tallies", "rows"):
            assert set(document[part][0]) == set(SCHEMA["properties"][part]["items"]["properties"])
        assert [row["name"] for row in document["rows"]] == [row.name for row in FEW]

    def test_what_is_wrong_is_shown(self, few, capsys, monkeypatch):
        monkeypatch.setattr(audit_module, "findings_of", lambda observed: ())
        assert main(["doctor", "--self-test", "--framework", "numpy"]) == 1
        assert "numpy-sgdw-ignored: OC102 did not fire as error" in capsys.readouterr().out

    def test_nothing_that_could_run_is_no_pass(self, capsys, monkeypatch):
        monkeypatch.setattr("optconform.conformance.planned.installed_frameworks", lambda: ())
        assert main(["doctor", "--self-test", "--framework", "jax"]) == 4
        assert "nothing ran" in capsys.readouterr().out

    def test_framework_restricts_the_examination_too(self, capsys):
        assert main(["doctor", "--framework", "numpy", "--format", "json"]) == 0
        assert [row["framework"] for row in json.loads(capsys.readouterr().out)["frameworks"]] == ["numpy"]
        assert doctor_module.FRAMEWORKS[0] == "numpy"


def all_found():
    """The document of a run over everything in which nothing is misjudged: what the tests of the rows hold."""
    return SelfTest(
        tuple(
            Judged(
                row.name,
                row.framework,
                "planted" if row in PLANTED else "sound",
                row.code if row in PLANTED else None,
                row.description if row in PLANTED else f"expected: {row.expectation}",
                (),
                0.0,
            )
            for row in collection(doctor_module.FRAMEWORKS)
        )
    ).to_json()


class TestPage:
    def test_is_what_the_rows_say(self):
        assert PAGE.read_text(encoding="utf-8") == page(all_found()), (
            "docs/faults.md is not what the rows say; write it anew: "
            "optconform doctor --self-test --format json | python -m optconform.conformance.faults.page"
        )

    def test_shows_a_fault_that_was_missed(self):
        document = all_found()
        document["tallies"][0]["found"] -= 1
        assert page(document) != page(all_found())

    def test_is_printed_from_a_document(self):
        command = [sys.executable, "-m", "optconform.conformance.faults.page"]
        done = subprocess.run(command, input=json.dumps(all_found()), capture_output=True, text=True, check=True)
        assert done.stdout == page(all_found())

"""The rule table, `explain`, `doctor`, and the command group itself."""

import json
import os
import re
from pathlib import Path

import pytest

import optconform.conformance
import optconform.gpu_ci
from optconform.__main__ import main as whole_command_line
from optconform.adapters.extras import EXTRAS
from optconform.conformance.cli.main import main
from optconform.conformance.codes import CODES
from optconform.conformance.workers import limits


@pytest.fixture
def run(capsys):
    def command(*arguments):
        status = main(list(arguments))
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return command


def flat(text):
    return " ".join(text.split())


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_explained(run, code):
    status, out, _ = run("explain", code)
    row = CODES[code]
    assert status == 0
    for text in (f"{code} {row.name} ({row.severity})", row.fires_when, row.why, row.example, row.remedy):
        assert flat(text) in flat(out)


def test_a_code_is_found_by_name_and_in_lower_case(run):
    assert run("explain", "oc101")[1] == run("explain", "coupled-decay")[1] == run("explain", "OC101")[1]


def test_an_unknown_code_names_the_nearest(run):
    status, _, err = run("explain", "OC1011")
    assert status == 2
    assert "unknown code 'OC1011'. Did you mean OC101?" in flat(err)
    assert run("explain", "\x1b[31m")[0] == 2


def test_explain_as_json(run):
    document = json.loads(run("explain", "OC305", "--format", "json")[1])
    assert (document["schema"], document["code"], document["severity"]) == ("optconform/rule/1", "OC305", "warning")


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_table_lists_every_rule(run, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    status, out, _ = run("rules")
    assert status == 0
    for row in CODES.values():
        assert row.code in out
        assert row.name in out
    document = json.loads(run("rules", "--format", "json")[1])
    assert [row["code"] for row in document["rules"]] == list(CODES)


def test_codes_are_ordered_and_named_once():
    assert list(CODES) == sorted(CODES)
    assert len({row.name for row in CODES.values()}) == len(CODES)


def test_every_code_can_fire():
    """A row that nothing refers to would promise what is not done."""
    folders = [Path(package.__file__).parent for package in (optconform.conformance, optconform.gpu_ci)]
    files = [path for folder in folders for path in folder.rglob("*.py")]
    sources = [path for path in files if not path.name.startswith("codes_") and "faults" not in path.parts]
    used = {code for path in sources for code in re.findall(r'"(OC[0-9]{3})"', path.read_text(encoding="utf-8"))}
    assert set(CODES) == used


class TestDoctor:
    @pytest.fixture
    def only_numpy(self, monkeypatch):
        monkeypatch.setattr("optconform.adapters.frameworks.is_findable", lambda name: name == "numpy")

    def test_what_is_missing_comes_with_its_command(self, run, only_numpy):
        status, out, _ = run("doctor")
        assert status == 0
        assert "pip install 'optconform[torch]'" in out
        assert "default" in out

    def test_as_json(self, run, only_numpy):
        rows = {row["framework"]: row for row in json.loads(run("doctor", "--format", "json")[1])["frameworks"]}
        assert {name: row["usable"] for name, row in rows.items()} == {
            "numpy": True,
            "torch": False,
            "tensorflow": False,
            "jax": False,
        }
        assert rows["numpy"]["devices"] == ["cpu"]
        assert rows["numpy"]["remedy"] is None

    def test_an_extra_that_is_missing_is_named_with_its_command(self, run, only_numpy):
        missing = {row["extra"]: row["remedy"] for row in json.loads(run("doctor", "--format", "json")[1])["extras"]}
        assert missing == {name: f"pip install 'optconform[{name}]'" for name in ("fast", "report", "remote", "device")}
        out = run("doctor")[1]
        assert all(f"{row.name} ({row.gives}): {row.install_command}" in out for row in EXTRAS)

    def test_extras_that_are_there_need_no_remedy(self, run, monkeypatch):
        monkeypatch.setattr("optconform.adapters.frameworks.is_findable", lambda name: True)
        monkeypatch.setattr("optconform.conformance.cli.doctor._examine", lambda name: {"remedy": None})
        extras = json.loads(run("doctor", "--format", "json")[1])["extras"]
        assert all(row["usable"] and row["remedy"] is None for row in extras)

    def test_the_limits_are_said(self, run, only_numpy, monkeypatch):
        memory = limits.Limits().bytes_allowed
        assert f"time 600 s (--timeout), memory {memory / 1e9:.1f} GB (--memory); cores: " in run("doctor")[1]
        said = json.loads(run("doctor", "--format", "json")[1])["limits"]
        assert said == {"timeout": 600.0, "memory_bytes": memory, "cores": os.cpu_count()}
        monkeypatch.setattr("sys.platform", "win32")
        assert "memory unlimited, since this system has no limit" in run("doctor")[1]


class TestGroup:
    def test_help_and_version(self, run):
        status, out, _ = run("--help")
        assert status == 0
        for command in ("check", "audit", "trace", "rules", "explain", "doctor"):
            assert command in out
            assert run(command, "--help")[0] == 0
        assert run("--version")[1].startswith("optconform ")

    def test_no_command_s_summary_is_cut(self, capsys, monkeypatch):
        monkeypatch.setenv("COLUMNS", "80")
        assert whole_command_line(["--help"]) == 0
        out = capsys.readouterr().out
        assert "gate     Run" in out
        assert "..." not in out.partition("Commands:")[2]

    def test_an_unknown_command_is_a_wrong_command(self, run):
        status, out, err = run("adit")
        assert (status, out) == (2, "")
        assert "adit" in err

    def test_an_interrupt_is_the_user_s(self, run, monkeypatch):
        def interrupted(*arguments):
            raise KeyboardInterrupt

        monkeypatch.setattr("optconform.conformance.cli.rules._print_rules", interrupted)
        assert run("rules")[0] == 130

    def test_a_bug_of_ours_is_not_dressed_up(self, run, monkeypatch):
        def broken(*arguments):
            raise ZeroDivisionError

        monkeypatch.setattr("optconform.conformance.cli.rules._print_rules", broken)
        with pytest.raises(ZeroDivisionError):
            run("rules")

    def test_traces_are_listed(self, run):
        assert "synthetic:mixed" in run("trace", "list")[1]
        assert run("trace", "verify", "no-such-trace")[0] == 2

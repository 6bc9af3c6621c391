"""`optconform report`, and `--format` of the commands that run something."""

import io
import json
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from optconform.conformance.reports import html, reading

ADAMW = "optconform.adapters.numpy_optimizers:AdamW"


@pytest.fixture
def file(tmp_path, gate_document):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(gate_document))
    return path


BEGINNINGS = {
    "json": "{",
    "junit": "<?xml version",
    "markdown": "## optconform: NOT as expected",
    "annotations": "::error title=OC501",
}


@pytest.mark.parametrize(("output_format", "beginning"), BEGINNINGS.items())
def test_results_are_shown_in_every_format(run, file, tmp_path, output_format, beginning):
    status, out, err = run("report", file, "--format", output_format)
    assert (status, err) == (0, ""), "the results do not decide the status"
    assert out.startswith(beginning)
    assert run("report", file, "--format", output_format, "--output", tmp_path / "out") == (0, "", "")
    assert (tmp_path / "out").read_text(encoding="utf-8") == out


def test_html_is_written_too(run, file, tmp_path):
    pytest.importorskip("jinja2")
    pytest.importorskip("plotly")
    assert run("report", file, "--format", "html", "--output", tmp_path / "run.html") == (0, "", "")
    assert (tmp_path / "run.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_json_is_the_same_document(run, file, gate_document):
    assert json.loads(run("report", file, "--format", "json")[1]) == gate_document


def test_the_text_of_a_gate_names_what_did_not_run_and_where_it_ran(run, file):
    text = run("report", file)[1]
    assert "1 as expected, 1 not as expected, 1 skipped" in text
    assert "skipped: jax/adamw/default/float32/scan/synthetic:mixed: this version has no scan" in text
    assert "compared with the 3 cases of card.json" in text
    assert "hardware Card 9" in text


def test_standard_input_is_read(run, monkeypatch, gate_document):
    class Piped:
        buffer = io.BytesIO(json.dumps(gate_document).encode())

    monkeypatch.setattr(sys, "stdin", Piped)
    assert run("report", "-", "--format", "junit")[0] == 0


@pytest.mark.parametrize("command", ["audit", "check"])
def test_the_text_is_what_the_command_printed(run, tmp_path, command):
    arguments = (command, ADAMW, "--trace", "synthetic:small", "--set", "weight_decay=0.25", "--expect", "l2")
    printed = run(*arguments)[1]
    assert run(*arguments, "--format", "json", "--output", tmp_path / "run.json")[0] == 1
    assert run("report", tmp_path / "run.json")[1] == printed
    assert "AdamW weight_decay=0.25" in printed


def test_a_check_writes_junit_and_keeps_its_status(run):
    status, out, _ = run("check", ADAMW, "--trace", "synthetic:small", "--expect", "l2", "--format", "junit")
    assert status == 1
    assert ElementTree.fromstring(out.encode()).get("failures") == "1"


def test_a_missing_package_is_said_before_anything_runs(run, monkeypatch, file):
    monkeypatch.setattr(html, "missing_imports", lambda extra: extra.imports)
    monkeypatch.setattr(
        "optconform.conformance.workers.pool.run_isolated", lambda *a, **k: pytest.fail("it ran before it was said")
    )
    for arguments in (("check", ADAMW), ("audit", ADAMW), ("survey", "math"), ("report", file)):
        status, out, err = run(*arguments, "--format", "html")
        assert (status, out) == (3, "")
        assert "pip install 'optconform[report]'" in err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b'{"schema": "optconform/gate/1", "results": [', "not JSON, or not all of it"),
        (b'{"schema": "optconform/gate/1", "seconds": NaN}', "NaN is no number of JSON"),
        (b"[" * 200_000, "nested too deep"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
        (b"[]", "a JSON list"),
        (b"{}", "no schema"),
        (b'{"schema": "optconform/compare/1"}', "optconform/compare/1"),
        (b'{"schema": "optconform/check/1", "exit_status": 0, "results": [{}]}', "results[0]"),
    ],
)
def test_a_file_that_holds_no_results_is_a_mistake_of_the_command(run, tmp_path, content, said):
    path = tmp_path / "run.json"
    path.write_bytes(content)
    status, out, err = run("report", path)
    assert (status, out) == (2, "")
    assert said in err


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "run.json"
    path.write_bytes(b" " * 1001)
    with pytest.raises(reading.DocumentError, match="more than 1,000 bytes"):
        reading.read_json(str(path), largest=1000)


@pytest.mark.parametrize("name", ["absent.json", "."])
def test_a_file_that_cannot_be_read_is_named(run, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    status, out, err = run("report", name)
    assert (status, out) == (2, "")
    assert name in err


def test_hostile_text_reaches_the_terminal_escaped(run, tmp_path, hostile_document):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(hostile_document))
    status, out, _ = run("report", path, "-v")
    assert status == 0
    assert not {"\x1b", "\x00", "\u202e", "\ud800"} & set(out)
    assert "\\x1b[31m" in out


def test_help_brings_nothing_heavy():
    code = (
        "import sys\n"
        "from optconform.conformance.cli.main import main\n"
        "status = main(['report', '--help'])\n"
        "sys.exit(str(status or {'numpy', 'rich', 'jinja2', 'plotly'} & set(sys.modules) or 0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    assert done.stderr.strip() in ("", "0")
    assert "RESULT.json" in done.stdout

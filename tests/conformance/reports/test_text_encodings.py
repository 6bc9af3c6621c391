"""Every command prints on every stream: code pages of Windows, ASCII, colours or none, and names that few can hold."""

import io
import json
import os
import subprocess
import sys
from xml.etree import ElementTree

import pytest
from rich.cells import cell_len

from optconform.__main__ import main
from optconform.conformance.reports.console import show
from optconform.conformance.reports.encodings import prepare, spelled
from optconform.conformance.reports.layout import Column, Row, print_table

ADAMW, SGDW = (f"optconform.adapters.numpy_optimizers:{name}" for name in ("AdamW", "SGDW"))
ENCODINGS = ("ascii", "cp1252", "cp437", "cp932", "utf-8", "utf-16")
NAME = "\u03b8\u00b1\u00d7\u2192\u2500\u2026\u4e2d\U0001f600"
"""Greek, a sign of Latin-1, arrows, a line, an ellipsis, a letter of two columns, and what no code page has."""


@pytest.fixture
def documents(tmp_path, check_document, gate_document):
    """Files of results whose names few encodings hold."""

    def written(name, document):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        return str(path)

    check_document["results"][1]["parameters"][0]["name"] = NAME
    check_document["results"][1]["output"] = f"{NAME}\n"
    for result in (*check_document["results"], *gate_document["results"]):
        result["title"] = result["case"] = f"{NAME}:{NAME} {NAME}=1"
        result["reason"] = f"{NAME} {NAME}"
    return {
        "audit": written("audit", check_document["results"][1]),
        "check": written("check", check_document),
        "gate": written("gate", gate_document),
    }


@pytest.fixture
def printed(monkeypatch):
    """Return a function that runs a command with a standard output in an encoding: (status, text)."""

    def run(encoding, *arguments):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict", newline="\n")
        monkeypatch.setattr(sys, "stdout", stream)
        return main(list(arguments)), stream.buffer.getvalue().decode(encoding)

    return run


@pytest.mark.parametrize("encoding", ENCODINGS)
class TestEncodings:
    @pytest.mark.parametrize("command", ["audit", "check", "gate"])
    def test_results(self, printed, documents, command, encoding):
        for output_format in ("text", "markdown", "annotations"):
            status, text = printed(encoding, "report", documents[command], "-v", "--format", output_format)
            assert status == 0
            assert (NAME in text) is encoding.startswith("utf")
        status, text = printed(encoding, "report", documents[command], "-v")
        assert ("\u2500" in text) is encoding.startswith("utf")
        assert ("\\U0001f600" in text) is not encoding.startswith("utf")
        assert ("theta+-x->-..." in text) is not encoding.startswith("utf")

    @pytest.mark.parametrize(
        "arguments",
        [
            ("rules",),
            ("explain", "OC107"),
            ("doctor", "--framework", "numpy"),
            ("trace", "list"),
            ("trace", "info", "separating", "--no-separability"),
            ("--help",),
            ("check", "--help"),
        ],
        ids=" ".join,
    )
    def test_commands_that_run_nothing(self, printed, arguments, encoding):
        status, text = printed(encoding, *arguments)
        assert status == 0
        assert not [line for line in text.splitlines() if line != line.rstrip()]
        assert ("\u2500" in text) is (encoding.startswith("utf") and arguments[0] in ("rules", "doctor", "trace"))


def test_commands_that_run_optimizers(printed, tmp_path):
    trace = ("--trace", "synthetic:small")
    survey = ("survey", "optconform.adapters.numpy_optimizers", *trace, "--cache", str(tmp_path))
    for status, arguments in ((0, ("check", ADAMW, *trace)), (1, ("compare", ADAMW, SGDW, *trace)), (0, survey)):
        found, text = printed("cp437", *arguments)
        assert found == status
        assert text.isascii()


@pytest.mark.parametrize(
    ("encoding", "arguments"),
    [("ascii", ("report", "{check}", "-v")), ("cp437", ("trace", "list")), ("cp1252", ("report", "{gate}"))],
)
def test_a_process_of_its_own_ends_without_a_word_of_an_encoding(documents, encoding, arguments, tmp_path):
    words = [each.format(**documents) for each in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "optconform", *words],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": encoding, "LC_ALL": "C"},
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode(encoding)


def test_what_states_its_encoding_keeps_it(documents, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["report", documents["check"], "--format", "junit"]) == 0
    suites = ElementTree.fromstring(stream.buffer.getvalue())
    assert any(NAME in case.get("name") for case in suites.iter("testcase"))


def test_results_are_shown_without_numpy(documents, tmp_path):
    code = (
        "import sys\n"
        "from optconform.__main__ import main\n"
        "status = main(sys.argv[1:])\n"
        "sys.exit(str(status or {'numpy', 'torch', 'jinja2'} & set(sys.modules) or 0))"
    )
    program = [sys.executable, "-c", code, "report", documents["check"]]
    done = subprocess.run(program, capture_output=True, check=False, cwd=tmp_path)
    assert done.stderr.strip() == b"0"


def test_columns_stay_aligned_where_signs_become_words(printed, documents):
    text = printed("cp437", "report", documents["check"])[1].splitlines()
    start = text[0].index("verdict")
    verdicts = ("decoupled", "error", "inconclusive")
    rows = [line for line in text[2:] if any(line[start:].startswith(verdict) for verdict in verdicts)]
    assert len(rows) == 4


def test_columns_are_those_of_the_terminal_where_letters_take_two(capsys):
    rows = [Row("\u4e2d\u6587", ("one", "1")), Row("abcd e", ("two", "22"))]
    show(lambda console: print_table(console, "name", (Column("word"), Column("number", right=True)), rows))
    lines = capsys.readouterr().out.splitlines()
    starts = [cell_len(line[: line.index(word)]) for line, word in zip(lines[2:], ("one", "two"), strict=True)]
    assert starts == [lines[0].index("word")] * 2
    assert {cell_len(line) for line in lines} == {cell_len(lines[0])}


def test_what_an_encoding_holds_is_kept():
    assert spelled("Größe \u2192 \u4e2d", "cp1252") == "Größe -> \\u4e2d"
    assert spelled("\u4e2d \u03b8", "cp932") == "\u4e2d theta", "it holds a theta, of two columns"
    assert spelled(NAME, "UTF8") == NAME
    assert spelled("\u03b8", None) == "theta"


def test_a_stream_that_cannot_be_told_stays_as_it_is():
    prepare(io.StringIO())
    prepare(None)


class TestColours:
    @pytest.fixture
    def shown(self, printed, documents, monkeypatch):
        def show(**environment):
            for name, value in environment.items():
                monkeypatch.setenv(name, value)
            return printed("utf-8", "report", documents["check"])[1]

        return show

    def test_none_in_a_pipe(self, shown):
        assert "\x1b" not in shown()

    def test_where_they_are_forced(self, shown):
        assert "\x1b[1;31m" in shown(FORCE_COLOR="1", TERM="xterm-256color")

    def test_never_in_a_file(self, documents, printed, monkeypatch, tmp_path):
        monkeypatch.setenv("FORCE_COLOR", "1")
        printed("utf-8", "report", documents["check"], "--output", str(tmp_path / "run.txt"))
        assert "\x1b" not in (tmp_path / "run.txt").read_text(encoding="utf-8")

    def test_not_where_none_is_wanted(self, shown):
        assert "\x1b[3" not in shown(FORCE_COLOR="1", TERM="xterm-256color", NO_COLOR="1")

    def test_not_in_a_terminal_that_knows_none(self, shown):
        assert "\x1b[3" not in shown(FORCE_COLOR="1", TERM="dumb")

    @pytest.mark.parametrize("columns", ["0", "", "wide"])
    def test_a_width_that_is_none_is_not_used(self, shown, columns):
        assert shown(COLUMNS=columns) == shown()

    def test_the_words_are_the_same(self, shown):
        plain = shown(COLUMNS="100")
        coloured = shown(FORCE_COLOR="1", TERM="xterm-256color")
        without = "".join(
            part.partition("m")[2] if number else part for number, part in enumerate(coloured.split("\x1b["))
        )
        assert without == plain

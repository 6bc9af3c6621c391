"""10,000-step traces through `check`: a bar that moves in a terminal, silence elsewhere, and no half-written result."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from optconform.conformance.reports.progress import Bar
from optconform.conformance.traces import write_trace
from optconform.conformance.traces.synthetic import synthetic_trace

pty = pytest.importorskip("pty", reason="a terminal to write to")

N_STEPS = 10_000
STEP = re.compile(rb"step ([0-9,]+)")
TARGET = "optconform.adapters.numpy_optimizers:SGDW"
PATIENCE = 60.0
"""Seconds after which a command that shows no sign of life has failed."""


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    path = tmp_path_factory.mktemp("traces") / "long"
    write_trace(synthetic_trace("schedule_jump", shapes={"w": (3,)}, n_steps=N_STEPS), path)
    return path


def command(trace, *arguments, targets=1):
    return [sys.executable, "-m", "optconform", "check", *[TARGET] * targets, "--trace", str(trace), *arguments]


MANY = 50
"""Targets of a command that would run for a minute if it were not interrupted."""


class InTerminal:
    """A command whose standard error is a terminal of 100 columns."""

    def __init__(self, arguments, folder):
        self.master, slave = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
        for name in ("NO_COLOR", "TTY_INTERACTIVE", "TTY_COMPATIBLE", "FORCE_COLOR"):
            environment.pop(name, None)
        # A shell that runs this in the background hands down that SIGINT is ignored; a handler here undoes that.
        inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            self.process = subprocess.Popen(
                arguments, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave
            )
        finally:
            signal.signal(signal.SIGINT, inherited)
        os.close(slave)
        self.shown = b""

    def read(self):
        """Return whether there was something to read."""
        with contextlib.suppress(OSError):  # the other end is closed: the command has ended
            chunk = os.read(self.master, 4096)
            self.shown += chunk
            return bool(chunk)
        return False

    def until_step(self, least):
        """Read until a step of at least `least` is shown."""
        deadline = time.monotonic() + PATIENCE
        while not any(number >= least for number in self.steps()):
            assert self.read(), f"ended before step {least}: {self.shown[-2000:]!r}"
            assert time.monotonic() < deadline, self.shown[-2000:]

    def steps(self):
        return [int(number.replace(b",", b"")) for number in STEP.findall(self.shown)]

    def end(self):
        while self.read():
            pass
        out = self.process.stdout.read()
        return self.process.wait(PATIENCE), out

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.stdout.close()
        self.process.wait()
        os.close(self.master)


@pytest.fixture
def in_terminal(tmp_path):
    started = []

    def start(*arguments):
        started.append(InTerminal(list(arguments), tmp_path))
        return started[-1]

    yield start
    for each in started:
        each.close()


def test_ten_thousand_steps_with_the_step_number_moving(in_terminal, trace, tmp_path):
    running = in_terminal(*command(trace, "--format", "json", "--output", "result.json"))
    status, out = running.end()
    assert (status, out) == (0, b"")
    document = json.loads((tmp_path / "result.json").read_text())
    match = document["results"][0]["match"]
    assert (match["decision"], match["rule"], match["elements"]) == ("accept", "sgdw", 3 * N_STEPS)
    assert match["bound_ratio"] <= 1.0
    steps = running.steps()
    assert len(set(steps)) >= 2
    assert steps == sorted(steps)
    assert TARGET.encode() in running.shown


@pytest.mark.parametrize("kind", ["json", "text"])
def test_interrupted_there_is_no_result_and_nothing_left_over(in_terminal, trace, tmp_path, kind):
    running = in_terminal(*command(trace, "--format", kind, "--output", "result", targets=MANY))
    running.until_step(200)
    running.process.send_signal(signal.SIGINT)
    status, out = running.end()
    assert (status, out) == (130, b"")
    assert f"{MANY}/{MANY}".encode() not in running.shown
    assert list(tmp_path.iterdir()) == []
    assert b"Traceback" not in running.shown
    assert running.shown.rfind(b"\x1b[?25h") > running.shown.rfind(b"\x1b[?25l"), "the cursor is shown again"


def test_interrupted_an_older_result_is_as_it_was(in_terminal, trace, tmp_path):
    (tmp_path / "result.json").write_text("older")
    running = in_terminal(*command(trace, "--format", "json", "--output", "result.json", targets=MANY))
    running.until_step(200)
    running.process.send_signal(signal.SIGINT)
    assert running.end()[0] == 130
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("result.json", "older")]


def test_without_a_terminal_nothing_is_shown(tmp_path):
    arguments = [sys.executable, "-m", "optconform", "check", TARGET, "--trace", "synthetic:mixed"]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"step " not in done.stdout


class TestBar:
    @pytest.fixture
    def terminal(self, monkeypatch):
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "100")

    def test_it_shows_title_step_and_count(self, terminal, capsys):
        with Bar(["first [x]", "second"]) as bar:
            for _ in bar.each(["a", "b"]):
                bar.step(1234)
        shown = capsys.readouterr().err
        assert "second" in shown
        assert "step 1,234" in shown
        assert "1/2" in shown
        assert "2/2" in shown

    def test_the_step_of_the_last_piece_is_not_that_of_the_next(self, terminal):
        bar = Bar(["first", "second"])
        pieces = bar.each(["a", "b"])
        bar.step(7)
        assert bar._progress.tasks[0].fields["step"] == "step 7"
        next(pieces)
        assert (bar._progress.tasks[0].description, bar._progress.tasks[0].fields["step"]) == ("second", "")

    def test_it_is_drawn_by_the_steps_themselves_and_ten_times_a_second_at_most(self, terminal, capsys):
        seconds = iter([0.0, 0.0, 0.05, 0.1, 0.11, 0.25])
        bar = Bar(["only"], clock=lambda: next(seconds))
        with bar:
            bar._progress.live.auto_refresh = False
            for number in range(1, 6):
                bar.step(number)
        shown = capsys.readouterr().err
        assert [f"step {number}" in shown for number in range(1, 6)] == [True, False, True, False, True]

    def test_a_terminal_that_cannot_redraw_is_left_alone(self, terminal, monkeypatch, capsys):
        monkeypatch.setenv("TERM", "dumb")
        with Bar(["only"]) as bar:
            bar.step(3)
        assert capsys.readouterr() == ("", "")

    def test_a_title_steers_no_terminal(self, terminal, capsys):
        with Bar(["a\x1b[2Jb\u202e"]) as bar:
            bar.step(3)
        shown = capsys.readouterr().err
        assert "\x1b[2J" not in shown
        assert "\u202e" not in shown
        assert r"a\x1b[2Jb\u202e" in shown

    def test_outside_a_terminal_it_is_silent(self, monkeypatch, capsys):
        for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
            monkeypatch.delenv(name, raising=False)
        with Bar(["only"]) as bar:
            for _ in bar.each(["a"]):
                bar.step(3)
        assert capsys.readouterr() == ("", "")

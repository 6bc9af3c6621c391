"""How workers are started, kept and replaced: forked, reused, without fork at all, in another interpreter."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from optconform.conformance.workers import connection, kinds, pool
from optconform.conformance.workers.connection import BadInterpreter
from optconform.conformance.workers.limits import Limits
from optconform.conformance.workers.processes import can_fork

PATIENCE = 30.0
"""Seconds after which what should have ended has not."""

pytestmark = pytest.mark.skipif(not can_fork(), reason="processes that are forked and followed, which takes Linux")


def process_of(result):
    """Return the process in which a target that speaks was built first, and that one's parent."""
    target, parent = result.output.split()[:2]
    return target, parent


def test_each_target_is_forked_from_one_process_that_is_kept(run):
    (first, above), (second, above_it) = process_of(run("Speaks")[0]), process_of(run("Speaks")[0])
    assert first != second
    assert above == above_it


def test_a_worker_that_dies_without_a_job_is_replaced(run):
    run("Plain")
    kept = pool._idle[-1].process
    kept.kill()
    kept.wait()
    (result,) = run("Plain")
    assert str(result.verdict) == "decoupled"


def test_kept_workers_end_on_request(run):
    run("Plain")
    ended = [each.process for each in pool._idle]
    pool.end_idle_workers()
    assert (pool._idle, [process.returncode for process in ended]) == ([], [0] * len(ended))
    assert ended


class TestReused:
    """Frameworks that cannot be forked once they are imported; NumPy stands in for them."""

    @pytest.fixture(autouse=True)
    def not_forked(self, monkeypatch):
        monkeypatch.setattr(kinds, "FORKED", frozenset())

    def test_one_process_serves_all_until_one_fails(self, run):
        results = run("Speaks", "Speaks", "SaysExit", "Speaks", "Segfaults", "Speaks", "Seeds", "Speaks")
        rules = [finding.rule for result in results for finding in result.findings if finding.rule > "OC9"]
        assert rules == ["OC902", "OC904", "OC907"]
        targets = [process_of(result)[0] for result in results if result.output]
        assert targets[0] == targets[1]
        assert len(set(targets)) == 4

    def test_what_a_target_has_started_is_ended_while_the_process_stays(self, run, pids, alive):
        before, _, after = run("Speaks", "LeavesChildren", "Speaks")
        assert process_of(before) == process_of(after)
        assert alive(pids(4)) == []

    def test_one_that_hangs_is_replaced(self, run, pids, alive):
        (before,) = run("Speaks")
        (hung,) = run("IgnoresSignals", limits=Limits(timeout=2.0))
        (after,) = run("Speaks")
        assert [finding.rule for finding in hung.findings] == ["OC903"]
        assert process_of(before) != process_of(after)
        assert alive(pids(1)) == []


WITHOUT_FORK = """#!/bin/sh
exec "{python}" -c "import os, runpy, sys
del os.fork
sys.argv[:] = sys.argv[1:]
runpy.run_path(sys.argv[0], None, '__main__')" "$@"
"""


class TestWithoutFork:
    """Systems where no process can be forked and followed: an interpreter without os.fork stands in for them."""

    @pytest.fixture
    def python(self, tmp_path, monkeypatch):
        monkeypatch.setattr(connection, "can_fork", lambda: False)
        python = tmp_path / "python"
        python.write_text(WITHOUT_FORK.format(python=sys.executable))
        python.chmod(0o755)
        return str(python)

    def test_a_process_serves_all_until_one_fails(self, run, python):
        names = ("Speaks", "Speaks", "SaysExit", "Speaks", "Segfaults", "Plain")
        first, second, failed, third, crashed, plain = run(*names, limits=Limits(60.0, python=python))
        assert [each.findings[0].rule for each in (failed, crashed)] == ["OC902", "OC904"]
        assert process_of(first) == process_of(second) != process_of(third)
        assert "SIGSEGV" in crashed.reason
        assert (str(plain.verdict), plain.output) == ("decoupled", "")

    def test_one_that_hangs_is_ended(self, run, python, pids, alive):
        (hung,) = run("LoopsInStep", limits=Limits(2.0, python=python))
        assert [finding.rule for finding in hung.findings] == ["OC903"]
        assert alive(pids(1)) == []


class TestLibraries:
    def test_one_is_imported_once(self, run, tmp_path, monkeypatch):
        monkeypatch.syspath_prepend(tmp_path)
        source = "print('imported')\nfrom optconform.adapters.numpy_optimizers import SGDW\n"
        (tmp_path / "sound_library.py").write_text(source)
        results = run("sound_library:SGDW", "sound_library:SGDW")
        assert [str(each.verdict) for each in results] == ["decoupled", "decoupled"]
        assert "imported" not in results[1].output

    def test_one_that_ends_the_process_is_the_targets_affair(self, run, tmp_path, monkeypatch):
        monkeypatch.syspath_prepend(tmp_path)
        (tmp_path / "deadly_library.py").write_text("import os\nos._exit(7)\n")
        deadly, plain = run("deadly_library:SGDW", "Plain")
        assert "exit status 7" in deadly.reason
        assert str(plain.verdict) == "decoupled"


class TestOtherInterpreter:
    @pytest.fixture
    def other(self, tmp_path):
        """An environment that finds what this one has installed."""
        home = tmp_path / "other"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
        (packages,) = home.glob("lib/python3*/site-packages")
        entries = [entry for entry in sys.path if entry.endswith("site-packages")]
        (packages / "all.pth").write_text("\n".join(entries))
        return home

    def test_it_runs_the_targets(self, run, other, folder):
        (folder / "where.py").write_text("import sys, hostile\nprint(sys.prefix)\nPlain = hostile.Plain\n")
        python = str(other / "bin" / "python")
        (result,) = run(f"{folder / 'where.py'}:Plain", limits=Limits(python=python))
        assert (str(result.verdict), result.output.splitlines()[0]) == ("decoupled", str(other))
        assert result.rerun.endswith(f"--python {python}")

    @pytest.mark.parametrize(("python", "words"), [("nowhere/python", "No such file"), ("/bin/true", "says nothing")])
    def test_one_that_cannot_is_refused(self, run, python, words):
        with pytest.raises(BadInterpreter) as raised:
            run("Plain", limits=Limits(python=python))
        assert repr(python) in str(raised.value)
        assert words in str(raised.value)

    def test_one_that_lacks_the_core_is_told_what_it_needs(self, run, tmp_path):
        bare = tmp_path / "python"
        bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E -P "$@"\n')
        bare.chmod(0o755)
        with pytest.raises(BadInterpreter, match=r"No module named 'numpy'.*It needs numpy, ml_dtypes, safetensors"):
            run("Plain", limits=Limits(python=str(bare)))


class TestEndOfTheCommand:
    @pytest.fixture
    def command(self, folder, tmp_path, pids):
        """Start `optconform check` on a target that loops; return it and the processes below it."""
        started = []

        def start():
            target = f"{folder / 'hostile.py'}:LoopsInStep"
            arguments = [sys.executable, "-m", "optconform", "check", target, "--trace", "synthetic:small"]
            # A shell that runs this in the background hands down that SIGINT is ignored; a handler here undoes that.
            inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
            try:
                process = subprocess.Popen(arguments, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            finally:
                signal.signal(signal.SIGINT, inherited)
            started.append(process)
            (looping,) = pids(1)
            warden = int(Path(f"/proc/{looping}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
            assert warden != process.pid
            return process, (looping, warden)

        yield start
        for process in started:
            process.kill()
            process.communicate()

    def test_interrupted_it_ends_what_runs(self, command, alive):
        process, below = command()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, out, err.strip()) == (130, b"", b"")
        assert alive(below) == []

    def test_killed_it_takes_what_runs_with_it(self, command, alive):
        process, below = command()
        process.kill()
        process.communicate(timeout=PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while running := alive(below):
            assert time.monotonic() < deadline, running
            time.sleep(0.02)


def test_the_command_line_hands_its_limits_on(folder, tmp_path, capsys):
    from optconform.conformance.cli.main import main

    command = ("audit", f"{folder / 'hostile.py'}:NeedsMemory", "--framework", "numpy", "--trace", "synthetic:small")
    status = main([*command, "--timeout", "60", "--memory", "3", "--format", "json"])
    document = json.loads(capsys.readouterr().out)
    assert (status, [each["rule"] for each in document["findings"]]) == (3, ["OC902"])
    assert "MemoryError" in document["reason"]
    assert document["rerun"].endswith("--timeout 60 --memory 3")

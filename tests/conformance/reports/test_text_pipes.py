"""A reader that closes the pipe, a full disk, and Ctrl-C: the command ends quietly, with a status that says so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from optconform.conformance.cli.main import READER_GONE

FULL = Path("/dev/full")
COMMANDS = {
    "help": ["--help"],
    "help of a command": ["audit", "--help"],
    "text": ["rules"],
    "JSON": ["rules", "--format", "json"],
    "verify": ["trace", "verify", "separating"],
    "check": ["check", "optconform.adapters.numpy_optimizers:AdamW", "--trace", "synthetic:small", "--expect", "l2"],
}


def command(*arguments):
    return [sys.executable, "-m", "optconform", *arguments]


@pytest.fixture
def closed_pipe():
    """The end to write to of a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.skipif(os.name == "nt", reason="a pipe without a reader raises another error there")
class TestReaderGone:
    @pytest.mark.parametrize("name", COMMANDS)
    def test_it_ends_quietly_and_neither_passes_nor_fails(self, closed_pipe, name, tmp_path):
        done = subprocess.run(
            command(*COMMANDS[name]), stdout=closed_pipe, stderr=subprocess.PIPE, check=False, cwd=tmp_path
        )
        assert (done.returncode, done.stderr) == (READER_GONE, b"")

    def test_a_reader_of_one_line(self, tmp_path):
        """As `optconform rules | head -1`: what is larger than the pipe is cut off in the middle."""
        program = command("rules", "--format", "json")
        with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) as process:
            assert process.stdout.readline() == b"{\n"
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(timeout=60) in (0, READER_GONE)

    def test_a_file_that_is_written_does_not_need_a_reader(self, closed_pipe, tmp_path):
        arguments = command(*COMMANDS["check"], "--output", str(tmp_path / "run.txt"))
        assert subprocess.run(arguments, stdout=closed_pipe, check=False, cwd=tmp_path).returncode == 1
        assert "OC101" not in (tmp_path / "run.txt").read_text(encoding="utf-8").splitlines()[0]


@pytest.mark.skipif(not FULL.exists(), reason="there is no device that is always full")
def test_a_full_disk_is_said(tmp_path):
    with FULL.open("wb") as full:
        done = subprocess.run(command("rules"), stdout=full, stderr=subprocess.PIPE, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert b"No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr

"""What the tests of recording share."""

import sys
import textwrap
from types import SimpleNamespace

import pytest

from optconform.conformance.cli.main import main


@pytest.fixture
def script(tmp_path):
    """Write a script, and return how it is called."""

    def write(code, name="script.py"):
        (tmp_path / name).write_text(textwrap.dedent(code))
        return [sys.executable, name]

    return write


@pytest.fixture
def trace_record(tmp_path, monkeypatch, capfd):
    """Call `optconform trace record --output run.trace` in an empty folder; return status, out and err."""
    monkeypatch.chdir(tmp_path)
    # What launchers of several processes set; the tests may run under one.
    for name in ("RANK", "LOCAL_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments, output="run.trace"):
        capfd.readouterr()
        status = main(["trace", "record", "--output", str(output), *map(str, arguments)])
        captured = capfd.readouterr()
        return SimpleNamespace(status=status, out=captured.out, err=captured.err)

    return call

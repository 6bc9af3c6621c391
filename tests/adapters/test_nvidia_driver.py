"""NVIDIA's driver is asked through its own tool, which may be absent, broken, or talkative."""

import os

import pytest

from optconform.adapters.nvidia_driver import nvidia_driver

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the stand-in for the tool is a shell script")


@pytest.fixture
def tool(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    def write(script):
        path = tmp_path / "nvidia-smi"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return write


def test_the_first_gpus_driver(tool):
    tool('test "$1 $2" = "--query-gpu=driver_version --format=csv,noheader" && echo 570.86.15 && echo 570.86.15')
    assert nvidia_driver() == "570.86.15"


@pytest.mark.parametrize("script", ["echo no devices were found", "echo 570.86.15; exit 9", "true"])
def test_what_is_no_version_is_left_out(script, tool):
    tool(script)
    assert nvidia_driver() == ""


def test_there_is_no_tool(tool):
    assert nvidia_driver() == ""

"""What tests of several folders share."""

import subprocess
import sys

import pytest

_TERMINAL = ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")


@pytest.fixture(scope="session", autouse=True)
def _no_terminal():
    """Print as into a pipe that nobody has named a width for; pytest-xdist sets COLUMNS in its workers."""
    with pytest.MonkeyPatch.context() as patch:
        for name in _TERMINAL:
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def against_schema():
    """Hold a file against a schema that check-jsonschema brings along, so that no network is needed."""

    def checked(schema, path):
        words = ["-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", path]
        return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)

    return checked

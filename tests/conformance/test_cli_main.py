"""The exit status of what goes wrong outside the judge, and of a bug of our own, which must not look like a verdict."""

import subprocess
import sys

import pytest

from optconform.conformance.cli.main import main


@pytest.mark.parametrize(
    ("error", "status", "shown"),
    [
        (FileNotFoundError(2, "No such file or directory", "somewhere"), 2, "'somewhere'"),
        (PermissionError(13, "Permission denied", "locked"), 2, "'locked'"),
        (MemoryError(), 3, "MemoryError"),
    ],
)
def test_errors_of_the_machine_have_a_status(monkeypatch, capsys, error, status, shown):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr("optconform.conformance.traces.find_trace", fail)
    assert main(["trace", "info", "digits_mlp"]) == status
    captured = capsys.readouterr()
    assert (captured.out, shown in captured.err) == ("", True)


def test_a_bug_is_not_taken_for_a_verdict(monkeypatch):
    def fail(*arguments, **options):
        raise ZeroDivisionError

    monkeypatch.setattr("optconform.conformance.traces.find_trace", fail)
    with pytest.raises(ZeroDivisionError):
        main(["trace", "info", "digits_mlp"])


@pytest.mark.parametrize("command", ["check", "audit", "survey", "compare"])
@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--timeout", "nan", "'nan' is not a finite number"),
        ("--timeout", "inf", "'inf' is not a finite number"),
        ("--timeout", "0", "0.0 is not in the range"),
        ("--memory", "nan", "'nan' is not a finite number"),
        ("--memory", "1e300", "1e+300 is not in the range"),
        ("--python", "", "'' cannot be started as a Python interpreter"),
    ],
)
def test_limits_that_are_none_are_wrong_commands(capsys, command, option, value, words):
    target = "optconform.adapters.numpy_optimizers" + ("" if command == "survey" else ":SGDW")
    targets = [target] * (2 if command == "compare" else 1)
    status = main([command, *targets, "--trace", "synthetic:small", option, value])
    captured = capsys.readouterr()
    assert (status, captured.out) == (2, "")
    assert words in captured.err


def test_a_check_needs_no_numpy_itself():
    """Workers have it; importing it here too would take 0.1 s of 0.55 s, and the rest of an audit 0.2 s more."""
    code = (
        "import sys\n"
        "from optconform.conformance.cli.main import main\n"
        "status = main(['check', 'optconform.adapters.numpy_optimizers:SGDW', '--trace', 'synthetic:small'])\n"
        "found = {'numpy', 'optconform.conformance.audit'} & set(sys.modules)\n"
        "sys.exit(f'{status} {found}' if status or found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_folder_that_has_been_deleted_is_named(capsys, tmp_path, monkeypatch):
    folder = tmp_path / "deleted"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert main(["check", "optconform.adapters.numpy_optimizers:SGDW", "--trace", "synthetic:small"]) == 2
    assert "Error: the current folder has been deleted; change to one that is there" in capsys.readouterr().err

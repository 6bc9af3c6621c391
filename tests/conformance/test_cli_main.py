"""The exit status of what goes wrong outside the judge, and of a bug of our own, which must not look like a verdict."""

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

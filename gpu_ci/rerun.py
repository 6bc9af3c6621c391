"""The command line that runs one case of the gate again."""

from __future__ import annotations

import shlex

from .case import Case

USUAL_REPEATS = 2


def rerun_command(case: Case, device: str, repeats: int, *, declared: bool) -> str:
    """Return the command that runs exactly `case` again: by its name where it is `declared`, in full otherwise."""
    words = ["optconform", "gate"]
    words += ["--case", case.name] if declared else _in_full(case)
    words += [] if device == "cpu" else ["--device", device]
    words += [] if repeats == USUAL_REPEATS else ["--repeat", str(repeats)]
    return shlex.join(words)


def _in_full(case: Case) -> list[str]:
    words = [case.spec, "--framework", case.runtime]
    for option, pairs in (
        ("--set", {name: repr(value) for name, value in case.options.items()}),
        ("--map", case.renamed),
    ):
        for name, value in pairs.items():
            words += [option, f"{name}={value}"]
    words += ["--paths", case.execution, "--dtype", case.dtype, "--trace", case.trace, "--expect", case.expected]
    return words + (["--rule", case.rule] if case.rule else [])

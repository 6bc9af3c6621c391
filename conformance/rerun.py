"""The command line that runs an audit again."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .addresses import shown

if TYPE_CHECKING:
    from .expectation import Expectation
    from .planned import PlannedAudit
    from .subject import Subject


def rerun_command(
    subject: Subject, trace_arguments: Sequence[str] | None, expectation: Expectation, paths: str | None = None
) -> str:
    """Return the command line that runs exactly this audit again; empty where none can.

    `paths` is the value of `--paths` where that is not the path of the subject. None can where a trace has no name,
    an option's value is no literal, or the target is local to a function.
    """
    from .subject import usual_dtype  # which brings NumPy, and that the command line does without

    return _command(
        subject.target.spec,
        subject.hyperparameters,
        subject.target.renamed,
        trace_arguments,
        {
            "--framework": subject.target.framework,
            "--paths": paths or subject.path,
            "--device": subject.device,
            "--dtype": None if subject.dtype == usual_dtype(subject.target) else subject.dtype,
            "--mode": subject.mode,
            "--expect": str(expectation),
        },
    )


def rerun_of_planned(planned: PlannedAudit, trace_arguments: Sequence[str]) -> str:
    """Return the command line that runs a planned audit again whose target could not be loaded; empty where none can.

    Its options stay under the names by which they were given.
    """
    return _command(
        planned.spec,
        planned.options,
        planned.renamed,
        trace_arguments,
        {
            "--framework": planned.framework,
            "--paths": planned.path,
            "--device": planned.device,
            "--dtype": planned.dtype,
            "--mode": planned.mode,
            "--expect": str(planned.expectation),
        },
    )


def _command(
    spec: str,
    options: Mapping[str, Any],
    renamed: Mapping[str, str],
    traces: Sequence[str] | None,
    settings: Mapping[str, str | None],
) -> str:
    values = {name: repr(value) for name, value in options.items()}
    if traces is None or "<" in spec or not all(map(_is_literal, values.values())):
        return ""
    # What starts with a dash is an option to the command line.
    words = ["optconform", "audit", f"./{spec}" if spec.startswith("-") else spec]
    for repeated, pairs in (("--set", values), ("--map", renamed)):
        for name, value in pairs.items():
            words += [repeated, f"{name}={value}"]
    for trace in traces:
        words += ["--trace", shown(trace)]
    for option, setting in settings.items():
        if setting and setting != _DEFAULTS.get(option):
            words += [option, setting]
    return shlex.join(words)


def recorded_command(trace_argument: str | None, expected: str | None, device: str) -> str:
    """Return the command line that judges a recorded run again; empty where its trace has no name."""
    if trace_argument is None:
        return ""
    words = ["optconform", "check", "--trace", shown(trace_argument)]
    words += [] if expected is None else ["--expect", expected]
    words += [] if device == "cpu" else ["--device", device]
    return shlex.join(words)


_DEFAULTS = {"--device": "cpu"}


def compare_command(first: Subject, second: Subject, trace_arguments: Sequence[str] | None) -> str:
    """Return the command line that runs exactly this comparison again; empty where none can, as `rerun_command`."""
    sides = {"a": first, "b": second}
    values = [repr(value) for subject in sides.values() for value in subject.hyperparameters.values()]
    local = any("<" in subject.target.spec for subject in sides.values())
    if trace_arguments is None or local or not all(map(_is_literal, values)):
        return ""
    words = ["optconform", "compare", first.target.spec, second.target.spec]
    for letter, subject in sides.items():
        words += [f"--framework-{letter}", subject.target.framework]
        for name, value in subject.hyperparameters.items():
            words += [f"--set-{letter}", f"{name}={value!r}"]
        for name, own in subject.target.renamed.items():
            words += [f"--map-{letter}", f"{name}={own}"]
        if subject.path:
            words += [f"--path-{letter}", subject.path]
    for trace in trace_arguments:
        words += ["--trace", shown(trace)]
    if first.device != "cpu":
        words += ["--device", first.device]
    if first.dtype != "float64":
        words += ["--dtype", first.dtype]
    return shlex.join(words)


def _is_literal(text: str) -> bool:
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return False
    return True

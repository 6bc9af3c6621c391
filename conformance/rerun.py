"""The command line that runs an audit again."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Sequence

from .expectation import Expectation
from .subject import Subject


def rerun_command(subject: Subject, trace_arguments: Sequence[str] | None, expectation: Expectation) -> str:
    """Return the command line that runs exactly this audit again; empty where none can.

    None can where a trace has no name, an option's value is no literal, or the target is local to a function.
    """
    values = {name: repr(value) for name, value in subject.hyperparameters.items()}
    if trace_arguments is None or "<" in subject.target.spec or not all(map(_is_literal, values.values())):
        return ""
    words = ["optconform", "audit", subject.target.spec, "--framework", subject.target.framework]
    for name, value in values.items():
        words += ["--set", f"{name}={value}"]
    for name, own in subject.target.renamed.items():
        words += ["--map", f"{name}={own}"]
    for trace in trace_arguments:
        words += ["--trace", trace]
    if subject.path:
        words += ["--paths", subject.path]
    if subject.device != "cpu":
        words += ["--device", subject.device]
    if subject.dtype != "float64":
        words += ["--dtype", subject.dtype]
    if subject.mode:
        words += ["--mode", subject.mode]
    words += ["--expect", str(expectation)]
    return shlex.join(words)


def _is_literal(text: str) -> bool:
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return False
    return True

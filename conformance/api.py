"""The Python API: audit one optimizer in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..adapters.frameworks import load_adapter
from ..adapters.options import canonical_hyperparameters, constructor_arguments
from ..adapters.targets import load_target, target_from_object
from . import audit as _audit
from .builtin_targets import documented_rule
from .expectation import parse_expectation
from .result import ExitStatus, Result
from .subject import Subject
from .traces import Trace, find_trace, shipped_names

DEFAULT_EXPECTATION = "decoupled"


def audit(
    target: Any,
    *,
    expect: str = DEFAULT_EXPECTATION,
    framework: str | None = None,
    device: str = "cpu",
    dtype: str = "float64",
    mode: str | None = None,
    path: str | None = None,
    traces: Sequence[str | Trace] = (),
    option_names: Mapping[str, str] | None = None,
    **hyperparameters: Any,
) -> Result:
    """Audit `target` and return what it does with weight decay.

    `target` is a class, a factory (local ones and lambdas work), or `package.module:attribute` or
    `path/to/file.py:attribute`. `hyperparameters` go to its constructor; `lr`, `weight_decay`, `beta1`,
    `beta2`, `eps` and `momentum` may be given under these names whatever the target calls them, and
    `option_names` says which option is meant where the names do not tell. `traces` are traces, names of
    shipped ones or paths; by default all that are shipped. `path` chooses how a step is executed, such as
    `eager` or `compiled`. `dtype` is the working precision, `float64`, `float32`, `bfloat16` or `float16`:
    parameters and gradients are rounded to it, and the optimizer computes as it then does. `mode` is what the
    reference takes over before every step, `theta-resync`, `free-run` or `full-resync`; it is chosen unless given.

    Raises `ValueError` for another dtype or mode, `TargetError` where the target or an option does not exist,
    `InvalidExpectation` or `TraceError` for a bad expectation or trace, `MissingFramework` where the framework
    is not installed. An optimizer that cannot be built or stepped is a result with the verdict `error`.

    >>> result = audit("optconform.adapters.numpy_optimizers:AdamW", weight_decay=0.1)
    >>> print(result.verdict, result.decay.law, result.match.rule)
    decoupled lr*wd adamw
    """
    expectation = parse_expectation(expect)
    subject = make_subject(
        target,
        framework=framework,
        device=device,
        dtype=dtype,
        mode=mode,
        path=path,
        option_names=option_names,
        hyperparameters=hyperparameters,
    )
    named = [trace for trace in traces if isinstance(trace, str)]
    return _audit.audit(subject, open_traces(traces), expectation, named if len(named) == len(traces) else None)


def check_optimizer(target: Any, *, expect: str = DEFAULT_EXPECTATION, **arguments: Any) -> None:
    """Raise AssertionError unless `target` does with weight decay what is expected.

    Takes the arguments of `audit`. The message holds verdict, failed checks, findings and the command
    that shows it again. What cannot be decided is no pass.

    >>> check_optimizer("optconform.adapters.numpy_optimizers:SGDW", expect="decoupled,law=lr*wd")
    """
    result = audit(target, expect=expect, **arguments)
    if result.exit_status is not ExitStatus.AS_EXPECTED:
        raise AssertionError(failure_message(result))


def failure_message(result: Result) -> str:
    """Return why `result` is not as expected: verdict, failed checks, findings, rerun command."""
    lines = [f"{result.target}: {result.verdict}, expected {result.expected}: {result.reason}"]
    lines += [f"  {check.name}: {check.message}" for check in result.checks if check.outcome == "failed"]
    lines += [f"  {finding.rule} {finding.name}: {finding.message}" for finding in result.findings]
    return "\n".join([*lines, f"  rerun: {result.rerun}"] if result.rerun else lines)


def make_subject(
    target: Any,
    *,
    framework: str | None = None,
    device: str = "cpu",
    dtype: str = "float64",
    mode: str | None = None,
    path: str | None = None,
    option_names: Mapping[str, str] | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
) -> Subject:
    """Find `target` and return it as a subject; see `audit` for the arguments and errors."""
    load = load_target if isinstance(target, str) else target_from_object
    found = load(target, framework, option_names)
    given = dict(hyperparameters or {})
    for renamed in found.renamed:
        constructor_arguments(found, {renamed: None})
    constructor_arguments(found, given)
    options = canonical_hyperparameters(found, given)
    adapter = load_adapter(found.framework)
    return Subject(found, adapter, options, device, path, documented_rule(found.spec, options), dtype, mode)


def open_traces(traces: Sequence[str | Trace] = ()) -> list[Trace]:
    """Return the traces named, found and verified; all shipped ones if none is."""
    chosen = traces or shipped_names()
    return [find_trace(trace) if isinstance(trace, str) else trace for trace in chosen]

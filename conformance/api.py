"""The Python API: audit one optimizer in this process."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..adapters.frameworks import load_adapter
from ..adapters.options import canonical_hyperparameters, constructor_arguments
from ..adapters.random_generators import seeded
from ..adapters.targets import load_target, target_from_object
from . import audit as _audit
from . import compare as _compare
from .builtin_targets import documented_rule
from .compare_result import CompareResult
from .expectation import DEFAULT_EXPECTATION, parse_expectation
from .metamorphic.paths import run_path
from .planned import Depth
from .recorded.judge import judge_run
from .replaying import OnStep
from .rerun import compare_command
from .result import Check, ExitStatus, Finding, Result
from .subject import Subject, usual_dtype
from .traces import Trace, default_names, find_trace


def audit(
    target: Any,
    *,
    expect: str = DEFAULT_EXPECTATION,
    framework: str | None = None,
    device: str = "cpu",
    dtype: str | None = None,
    mode: str | None = None,
    path: str | None = None,
    traces: Sequence[str | Trace] = (),
    option_names: Mapping[str, str] | None = None,
    metamorphic: bool = True,
    **hyperparameters: Any,
) -> Result:
    """Audit `target` and return what it does with weight decay, and whether ways of using it agree.

    `target` is a class, a factory (local ones and lambdas work), or `package.module:attribute` or
    `path/to/file.py:attribute`. `hyperparameters` go to its constructor; `lr`, `weight_decay`, `beta1`,
    `beta2`, `eps` and `momentum` may be given under these names whatever the target calls them, and
    `option_names` says which option is meant where the names do not tell. `traces` are traces, names of
    shipped ones or paths; by default `default_names`. `path` chooses how a step is executed, such as
    `eager` or `compiled`; the others are compared with it, those that compile only if `path` names one or is
    `all`. `metamorphic=False` leaves out this and every other comparison of ways of using the optimizer. `dtype`
    is the working precision, `float64`, `float32`, `bfloat16` or `float16`: parameters and gradients are rounded
    to it, and the optimizer computes as it then does; by default float64, unless the optimizer is known to refuse
    that (`adapters.recipes`). `mode` is what the reference takes over before every step,
    `theta-resync`, `free-run` or `full-resync`; it is chosen unless given. The global random generators are seeded
    for the audit, and put back in the end.

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
        compared=metamorphic,
    )
    depth = Depth(paths=path) if metamorphic else None
    named = [trace for trace in traces if isinstance(trace, str)]
    arguments = named if len(named) == len(traces) else None
    opened = open_traces(traces)
    with seeded():
        return _audit.audit(subject, opened, expectation, arguments, depth=depth)


def check_optimizer(target: Any, *, expect: str = DEFAULT_EXPECTATION, **arguments: Any) -> None:
    """Raise AssertionError unless `target` does with weight decay what is expected.

    Takes the arguments of `audit`. The message holds verdict, failed checks, findings and the command
    that shows it again. What cannot be decided is no pass.

    >>> check_optimizer("optconform.adapters.numpy_optimizers:SGDW", expect="decoupled,law=lr*wd")
    """
    __tracebackhide__ = True  # pytest shows the test that called it
    result = audit(target, expect=expect, **arguments)
    if result.exit_status is not ExitStatus.AS_EXPECTED:
        raise AssertionError(failure_message(result))


def audit_run(
    trace: str | os.PathLike[str] | Trace,
    *,
    expect: str | None = None,
    device: str = "cpu",
    on_step: OnStep | None = None,
) -> Result:
    """Judge the run that `trace` was recorded from, by the parameters that were kept after each of its steps.

    `trace` is the path or address of a recording with `snapshots=True`, or one that was opened. Expected is what the
    class of the optimizer documents, decoupled decay of one that is not known, or `expect`. `device` is where the run
    took place, `cpu` or a GPU, which may round otherwise; `on_step` is called after each step that was looked at, with
    its number. Nothing is executed, and no framework is needed.

    Raises `TraceError` where the trace cannot be read or its parameters were not kept, `InvalidExpectation` for a bad
    expectation.

    >>> result = audit_run("mixed_precision")
    >>> print(result.verdict, result.decay.law, result.match.rule)
    decoupled lr*wd adamw
    """
    argument = os.fspath(trace) if isinstance(trace, str | os.PathLike) else None
    return judge_run(
        find_trace(trace) if isinstance(trace, str | os.PathLike) else trace,
        None if expect is None else parse_expectation(expect),
        device=device,
        trace_argument=argument,
        on_step=on_step,
    )


def failure_message(result: Result) -> str:
    """Return why `result` is not as expected: verdict, failed checks, findings, rerun command."""
    heading = f"{result.target}: {result.verdict}, expected {result.expected}: {result.reason}"
    return failure_text(heading, result.checks, result.findings, result.rerun)


def failure_text(heading: str, checks: Sequence[Check], findings: Sequence[Finding], rerun: str) -> str:
    """Return `heading` and, a line each, the `checks` that failed, the `findings`, and the command to run again."""
    lines = [f"  {check.name}: {check.message}" for check in checks if check.outcome == "failed"]
    lines += [f"  {finding.rule} {finding.name}: {finding.message}" for finding in findings]
    return "\n".join([heading, *lines, *([f"  rerun: {rerun}"] if rerun else [])])


def compare(
    a: Any,
    b: Any,
    *,
    options_a: Mapping[str, Any] | None = None,
    options_b: Mapping[str, Any] | None = None,
    path_a: str | None = None,
    path_b: str | None = None,
    framework_a: str | None = None,
    framework_b: str | None = None,
    option_names_a: Mapping[str, str] | None = None,
    option_names_b: Mapping[str, str] | None = None,
    device: str = "cpu",
    dtype: str = "float64",
    traces: Sequence[str | Trace] = (),
    **hyperparameters: Any,
) -> CompareResult:
    """Return whether `a` and `b` walk the same path on `traces`, where and why they part, and what would mend it.

    Targets, traces, `device` and `dtype` are as for `audit`; the two may be of different frameworks, or one
    target twice with other options or paths. `hyperparameters` are for both, `options_a` and `options_b` for one of
    them, and win over them. What neither says is the target's own default. Raises as `audit` does; an optimizer
    that cannot be built or stepped is a result with the outcome `error`.

    >>> sgdw = "optconform.adapters.numpy_optimizers:SGDW"
    >>> result = compare(sgdw, sgdw, options_a={"weight_decay": 0.1}, traces=["synthetic:small"])
    >>> print(result.outcome, [difference.name for difference in result.differences], result.translation.values)
    different ['weight_decay'] {'weight_decay': 0.1}
    """
    sides = (
        (a, options_a, path_a, framework_a, option_names_a),
        (b, options_b, path_b, framework_b, option_names_b),
    )
    first, second = (
        make_subject(
            target,
            framework=framework,
            device=device,
            dtype=dtype,
            path=path,
            option_names=names,
            hyperparameters={**hyperparameters, **(options or {})},
        )
        for target, options, path, framework, names in sides
    )
    named = [trace for trace in traces if isinstance(trace, str)]
    rerun = compare_command(first, second, named if len(named) == len(traces) else None)
    opened = open_traces(traces)
    with seeded():
        return _compare.compare(first, second, opened, rerun)


def make_subject(
    target: Any,
    *,
    framework: str | None = None,
    device: str = "cpu",
    dtype: str | None = None,
    mode: str | None = None,
    path: str | None = None,
    option_names: Mapping[str, str] | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    compared: bool = False,
) -> Subject:
    """Find `target` and return it as a subject; see `audit` for the arguments and errors.

    `compared` says whether `path` may name what is compared with the path of the audit, instead of that path.
    """
    load = load_target if isinstance(target, str) else target_from_object
    found = load(target, framework, option_names)
    given = dict(hyperparameters or {})
    for renamed in found.renamed:
        constructor_arguments(found, {renamed: None})
    constructor_arguments(found, given)
    options = canonical_hyperparameters(found, given)
    adapter = load_adapter(found.framework)
    rule = documented_rule(found.spec, options)
    run_on = run_path(adapter, path, compared=compared)
    return Subject(found, adapter, options, device, run_on, rule, dtype or usual_dtype(found), mode)


def open_traces(traces: Sequence[str | Trace] = ()) -> list[Trace]:
    """Return the traces named, found and verified; the default ones if none is."""
    chosen = traces or default_names()
    return [find_trace(trace) if isinstance(trace, str) else trace for trace in chosen]

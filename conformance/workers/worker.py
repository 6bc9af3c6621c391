"""What a worker does: warm a framework, then run one planned audit after another and tell what comes of each."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
import sys
import time
import traceback
from collections.abc import Callable

import numpy as np

from ...adapters.errors import BuildFailed, MissingDevice, MissingFramework, StepFailed, TargetError
from ...adapters.global_state import changed, observe
from ...adapters.random_generators import seeded
from ...adapters.text import describe_error
from ..api import make_subject
from ..audit import failed
from ..builtin_targets import BUILTIN_TARGETS
from ..check import audit_planned, unbuilt
from ..compare import compare
from ..observations import make_finding
from ..replaying import OnStep
from ..rerun import compare_command, rerun_of_planned
from ..result import Finding
from ..traces import Trace, TraceError, default_names, find_trace
from .import_path import use_import_path
from .messages import comparison_of, planned_of
from .mistakes import told
from .questions import answer
from .start import PACKAGE
from .wire import Message

_STEP_INTERVAL = 0.1
"""Seconds between two steps that are told: that is as often as a progress bar is drawn."""
_TRACEBACK_CHARACTERS = 4000
_LEAVES_TRACES = frozenset({"OC901", "OC902", "OC907"})
"""Findings after which a process is not known to be as it was."""

Tell = Callable[[Message], None]


def flush_output() -> None:
    """Write out what Python still holds of standard output and error; the target may have closed or replaced them."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()


class Worker:
    """A process with a framework imported, perhaps a library of optimizers too, and the traces it has opened."""

    def __init__(self, framework: str | None, library: str | None) -> None:
        self._traces: dict[tuple[str, ...], list[Trace]] = {}
        if framework is not None:
            _warm(framework)
        before = observe()
        if library is not None:
            with contextlib.suppress(Exception, SystemExit):
                importlib.import_module(library)
        self._changed_by_library = changed(before, observe())

    def open_traces(self, job: Message) -> list[Trace]:
        """Return the traces of `job`, opened and verified once. Raises `TraceError`."""
        names = tuple(job["traces"]) or default_names()
        if names not in self._traces:
            os.chdir(job["folder"])
            self._traces[names] = [find_trace(name) for name in names]
        return self._traces[names]

    def run(self, job: Message, tell: Tell) -> bool:
        """Run one audit or comparison, or answer a question; tell what comes of it, or a mistake in the command.

        Returns whether the process is as it was: the target neither failed nor changed what is global. What it has
        printed is written by then.
        """
        use_import_path(job["path"])
        try:
            if "question" in job:
                tell(answer(job))
                return True
            if "call" in job:
                return _called(job, tell)
            if "comparison" in job:
                return self._compared(job, tell)
            return self._audited(job, tell)
        finally:
            flush_output()

    def _audited(self, job: Message, tell: Tell) -> bool:
        planned = planned_of(job["planned"])
        with seeded():
            before = observe()  # not earlier: a fork re-seeds generators
            try:
                result = audit_planned(planned, self.open_traces(job), job["traces"], _throttled(tell))
            except (TargetError, TraceError) as error:
                tell(told(error))
                return False
            except BaseException as error:
                rerun = rerun_of_planned(planned, job["traces"])
                result = dataclasses.replace(failed(unbuilt(planned), _unexpected(error, rerun)), rerun=rerun)
            lines = [*self._changed_by_library, *changed(before, observe())]
        if lines:
            result = dataclasses.replace(result, findings=(*result.findings, _state_changed(lines, result.rerun)))
        tell({"result": result.to_json()})
        return not any(finding.rule in _LEAVES_TRACES for finding in result.findings)

    def _compared(self, job: Message, tell: Tell) -> bool:
        planned = comparison_of(job["comparison"])
        try:
            first, second = (
                make_subject(
                    side.spec,
                    framework=side.framework,
                    device=planned.device,
                    dtype=planned.dtype,
                    path=side.path,
                    option_names=side.renamed,
                    hyperparameters=side.options,
                )
                for side in (planned.first, planned.second)
            )
            rerun = compare_command(first, second, job["traces"])
            traces = self.open_traces(job)
            with seeded():
                result = compare(first, second, traces, rerun, _throttled(tell))
        except (TargetError, TraceError, MissingFramework, MissingDevice) as error:
            tell(told(error))
        except BaseException as error:
            traceback.print_exc()
            tell({"failed": f"it raised {describe_error(error)}"})
        else:
            tell({"compared": result.to_json(), "titles": [first.title, second.title]})
        return False


def _called(job: Message, tell: Tell) -> bool:
    """Call a function of this package with what the job is about, and tell its answer."""
    module, _, name = job["call"].partition(":")
    try:
        tell({"answer": getattr(importlib.import_module(module, PACKAGE), name)(job["about"])})
    except (TargetError, TraceError, MissingFramework, MissingDevice) as error:
        tell(told(error))
        return False
    except BaseException as error:
        traceback.print_exc()
        tell({"failed": f"it raised {describe_error(error)}"})
        return False
    return True


def _warm(framework: str) -> None:
    """Import a framework, and what it imports only with the first optimizer: 1.1 s more in PyTorch 2.13.

    What is missing or broken is left for the audit that needs it to tell.
    """
    with contextlib.suppress(MissingFramework, TargetError, BuildFailed, StepFailed):
        row = next(each for each in BUILTIN_TARGETS if each.framework == framework)
        subject = make_subject(row.spec, framework=framework)
        subject.build({"w": np.ones(1)}, {}).step({"w": np.ones(1)}, 0.1)


def _state_changed(lines: list[str], rerun: str) -> Finding:
    return make_finding("OC907", f"process-wide state is not as it was: {'; '.join(lines)}", rerun=rerun, changed=lines)


def _unexpected(error: BaseException, rerun: str) -> Finding:
    """Return the finding for an error that no adapter expects: memory ran out, or there is a defect somewhere."""
    where = "".join(traceback.format_exception(error))[-_TRACEBACK_CHARACTERS:]
    return make_finding("OC902", f"the audit raised {describe_error(error)}", rerun=rerun, traceback=where)


def _throttled(tell: Tell) -> OnStep:
    """Return what tells a step unless one was told a moment ago."""
    following = 0.0

    def on_step(number: int) -> None:
        nonlocal following
        if (now := time.monotonic()) >= following:
            following = now + _STEP_INTERVAL
            tell({"step": number})

    return on_step

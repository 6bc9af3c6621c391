"""What the checks of one optimizer share: the audit of its decay and the setting of its metamorphic checks."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cached_property

from ...adapters.random_generators import seeded
from .. import audit as _audit
from ..api import make_subject, open_traces
from ..metamorphic.drawing import drawn_setting
from ..metamorphic.paths import compiled_asked
from ..metamorphic.running import blocked_by, run_row
from ..metamorphic.setting import MetamorphicCheck, Setting
from ..rerun import rerun_command
from ..result import Check, Finding, Result
from ..sample_sufficiency import usable_traces
from ..subject import Subject
from ..traces import Trace
from .optimizer import Optimizer
from .session import Settings


class Examination:
    """One optimizer under one pytest session's settings; each part is computed when a check first needs it."""

    def __init__(self, optimizer: Optimizer, settings: Settings) -> None:
        self._optimizer = optimizer
        self._device = optimizer.device or settings.device
        self._traces = optimizer.traces or settings.traces

    @cached_property
    def decay(self) -> Result:
        """The audit without the metamorphic checks. Raises as `optconform.audit` does."""
        with seeded():
            return _audit.audit(self._subject, self._opened, self._optimizer.expectation, self._traces)

    def row(self, row: MetamorphicCheck) -> tuple[list[Check], list[Finding]]:
        """Run one metamorphic check; return its checks, one for each variant, and findings."""
        with seeded():
            return run_row(row, self._setting, "", self.rerun)

    @cached_property
    def blocked(self) -> str:
        """Why no metamorphic check can be run; empty where they can."""
        with seeded():
            return blocked_by(self._setting)

    @cached_property
    def rerun(self) -> str:
        """The command line that audits the optimizer in depth; empty where there is none."""
        path = self._optimizer.arguments["path"]
        return rerun_command(self._subject, self._traces, self._optimizer.expectation, path)

    @cached_property
    def _setting(self) -> Setting | None:
        subject = self._subject
        decays = subject.has_weight_decay
        usable = usable_traces(subject, self._opened)[0] if decays else subject.taken_from(self._opened)
        compiled = compiled_asked(subject.adapter, self._optimizer.arguments["path"])
        return drawn_setting(subject, usable, compiled=compiled)

    @cached_property
    def _opened(self) -> list[Trace]:
        return open_traces(self._traces)

    @cached_property
    def _subject(self) -> Subject:
        optimizer = self._optimizer
        return make_subject(
            optimizer.target,
            device=self._device,
            hyperparameters=optimizer.hyperparameters,
            compared=True,
            **optimizer.arguments,
        )


_EXAMINED: dict[Hashable, Examination] = {}
"""By optimizer and settings: whatever the order of the items, a process audits each optimizer once."""


def examination_of(optimizer: Optimizer, settings: Settings) -> Examination:
    """Return what is known of `optimizer` in this process under the device and traces of `settings`."""
    key = (optimizer.key(), settings.device, settings.traces)
    return _EXAMINED.setdefault(key, Examination(optimizer, settings))

"""What one case of the gate is: which optimizer, with which hyperparameters, on which trace, executed how."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Case:
    """One case. Where it runs is not part of it: the same cases are run on every device."""

    runtime: str
    """A key of `adapters.execution.RUNTIMES`."""
    spec: str
    """The target, as on the command line."""
    execution: str
    """A name among the runtime's executions."""
    dtype: str
    """Precision of the parameters and gradients that are handed over."""
    trace: str
    expected: str
    """What is expected of it, as for `--expect`."""
    setting: str = "default"
    """A name for `options`, unique among the cases of one target."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Constructor options, under canonical names where there is one."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Canonical name -> the target's own, as for `--map`."""
    rule: str | None = None
    """The rule of the reference that it must walk; None takes the one that the target is documented to follow."""
    slow: bool = False
    """Whether it is left out unless every case is asked for."""

    @property
    def name(self) -> str:
        """The name under which a baseline holds it: `runtime/target/setting/dtype/execution/trace`."""
        target = self.spec.rpartition(":")[2]
        return f"{self.runtime}/{target}/{self.setting}/{self.dtype}/{self.execution}/{self.trace}"

    @property
    def definition(self) -> str:
        """A digest of all that the case is, its name's parts besides: 64 hexadecimal digits.

        Two cases of one name and two definitions are not the same case.
        """
        parts = (self.runtime, self.spec, self.execution, self.dtype, self.trace, self.expected, self.rule)
        text = json.dumps([*parts, dict(self.options), dict(self.renamed)], sort_keys=True, default=repr)
        return hashlib.sha256(text.encode()).hexdigest()

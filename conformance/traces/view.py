"""What a part of a trace has of the whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .trace import Trace


@dataclass(frozen=True, eq=False)
class TraceView:
    """A part of the trace `whole`, whose name, digest and provenance stay its own."""

    whole: Trace

    @property
    def name(self) -> str:
        """The name of the whole trace."""
        return self.whole.name

    @property
    def sha256(self) -> str:
        """The digest of the whole trace."""
        return self.whole.sha256

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Where the whole trace comes from."""
        return self.whole.provenance

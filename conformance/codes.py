"""The rule table: every finding that can be reported, when it fires, why it matters and what to do.

A row is all there is to a rule besides the function that decides whether it fires. The rows lie in one file
for each part of the table, in the order of their codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from . import codes_behaviour, codes_decay, codes_gate, codes_running, codes_update
from .code_row import Code

CODES: Mapping[str, Code] = MappingProxyType(
    {
        row.code: row
        for part in (codes_decay, codes_update, codes_behaviour, codes_gate, codes_running)
        for row in part.ROWS
    }
)
"""Code -> row, in the order of the codes."""

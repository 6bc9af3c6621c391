"""The metamorphic checks, one row each, in the order of their codes."""

from __future__ import annotations

from .setting import MetamorphicCheck

CHECKS: tuple[MetamorphicCheck, ...] = ()

"""Tests of the rounding-error bound share the modules in `emulation`, which pytest's importlib mode does not find."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "emulation"))

"""The words that options and keys of the configuration take, as plain data: nothing is imported to list them."""

from __future__ import annotations

DTYPES = ("float64", "float32", "bfloat16", "float16")
"""The precisions in which an optimizer is run."""
MODES = ("theta-resync", "free-run", "full-resync")
"""What the reference takes over from the optimizer in each step, as `reference.follow.Mode`."""

"""Keep known noise of native libraries out of standard error while a framework is imported."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

NOISE = (
    b"All log messages before absl::InitializeLog() is called are written to STDERR",
    b"oneDNN custom operations are on.",
)
"""Parts of lines that TensorFlow 2.21 writes on import before it reads TF_CPP_MIN_LOG_LEVEL, so that no setting
silences them. They would stand above every report."""


@contextmanager
def without_noise() -> Iterator[None]:
    """Leave out the lines of `NOISE` that are written to file descriptor 2 inside the block.

    All else is written after the block, in order, whether it succeeds or raises.
    """
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # standard error is closed
        yield
        return
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            written.seek(0)
            for line in written:
                if not any(part in line for part in NOISE):
                    os.write(2, line)

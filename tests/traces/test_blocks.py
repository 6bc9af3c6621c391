"""Blocks of files that are far away."""

import numpy as np
import pytest

from optconform.conformance.traces import blocks as blocks_module
from optconform.conformance.traces.blocks import Blocks


@pytest.mark.parametrize("seed", range(5))
def test_ranges_are_those_bytes_however_they_were_read_before(monkeypatch, seed):
    monkeypatch.setattr(blocks_module, "BLOCK_BYTES", 10)
    monkeypatch.setattr(blocks_module, "CACHE_BYTES", 60)
    rng = np.random.default_rng(seed)
    files = {name: rng.bytes(size) for name, size in (("a", 203), ("b", 40), ("c", 7))}
    blocks = Blocks(lambda name, start, stop: files[name][start:stop], AssertionError)
    for _ in range(200):
        name = str(rng.choice(list(files)))
        start, stop = sorted(rng.integers(0, len(files[name]) + 1, 2))
        assert blocks.read(name, len(files[name]), int(start), int(stop)) == files[name][start:stop]

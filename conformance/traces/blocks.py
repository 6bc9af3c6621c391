"""Files that are far away, read in blocks: what is near what was read before is there already, in bounded memory.

A trace is read step by step, and a step is a row of each tensor, so that the reads of one step are spread over the
file and the next step's lie right behind them. Blocks are fetched when a byte of them is asked for; the one behind a
block that is there brings others along, since whoever reads on will want them. All shards that hold several steps
fit into the cache whole, so each of their bytes is fetched once.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

BLOCK_BYTES = 2**18
"""What is fetched at least. A request takes the time of some 2^18 bytes where an answer takes 20 ms at 100 Mbit/s."""
AHEAD_BLOCKS = 16
"""How many are fetched together where the one before them is there."""
MOST_BLOCKS = 64
"""Most blocks of one request, 16 MiB, so that a tensor of gigabytes does not pass through memory twice."""
CACHE_BYTES = 2**27
"""What is kept of all files together. Recorders end a shard at 64 MiB and never in the middle of a step, so that a
shard of several steps is at most twice that."""

Fetch = Callable[[str, int, int], bytes]
"""Name of a file, first byte, byte behind the last -> exactly these bytes."""
Changed = Callable[[str, int, int], Exception]
"""The error to raise for a file whose bytes in that range are no longer those of before."""


@dataclass(slots=True)
class Blocks:
    """The blocks of some files: `read` takes ranges out of them, `digest` looks at all of one.

    Of a file whose digest was taken, every block that is fetched again later has to be the same.
    """

    fetch: Fetch
    changed: Changed
    _kept: OrderedDict[tuple[str, int], bytes] = field(default_factory=OrderedDict)
    _bytes: int = 0
    _digests: dict[str, list[bytes]] = field(default_factory=dict)

    def read(self, name: str, size: int, start: int, stop: int) -> bytearray:
        """Bytes `start` .. `stop` - 1 of the file `name`, which has `size` of them."""
        found = bytearray()
        last = (stop - 1) // BLOCK_BYTES
        while start < stop:
            number, offset = divmod(start, BLOCK_BYTES)
            piece = self._block(name, size, number, last)[offset : offset + stop - start]
            found += piece
            start += len(piece)
        return found

    def digest(self, name: str, size: int) -> str:
        """The SHA-256 of the file, as 64 hexadecimal digits."""
        digest = hashlib.sha256()
        digests: list[bytes] = []
        for block in self._all(name, size):
            digest.update(block)
            digests.append(hashlib.sha256(block).digest())
        self._digests[name] = digests
        return digest.hexdigest()

    def _all(self, name: str, size: int) -> Iterator[bytes]:
        count = -(-size // BLOCK_BYTES)
        for number in range(count):
            yield self._block(name, size, number, count - 1)

    def _block(self, name: str, size: int, number: int, last: int) -> bytes:
        """Block `number` of a file of which the blocks up to `last` are wanted."""
        key = name, number
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if (name, number - 1) in self._kept:
            last = max(last, number + AHEAD_BLOCKS - 1)
        last = min(last, number + MOST_BLOCKS - 1, (size - 1) // BLOCK_BYTES)
        stop = next((at for at in range(number + 1, last + 1) if (name, at) in self._kept), last + 1)
        start = number * BLOCK_BYTES
        fetched = self.fetch(name, start, min(stop * BLOCK_BYTES, size))
        known = self._digests.get(name)
        for at in range(number, stop):
            block = fetched[at * BLOCK_BYTES - start : (at + 1) * BLOCK_BYTES - start]
            if known is not None and hashlib.sha256(block).digest() != known[at]:
                raise self.changed(name, at * BLOCK_BYTES, at * BLOCK_BYTES + len(block))
            self._kept[name, at] = block
            self._bytes += len(block)
        while self._bytes > CACHE_BYTES and len(self._kept) > stop - number:
            self._bytes -= len(self._kept.popitem(last=False)[1])
        return self._kept[key]

"""What a command and its workers say to each other: JSON objects, each after its length in four bytes.

JSON and nothing else: a target that breaks into the channel can lie about itself, but not run code in the command.
Only the standard library is imported here, so that an interpreter that lacks the core can still say so.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Mapping
from typing import Any, cast

Message = dict[str, Any]

_LENGTH = struct.Struct(">I")
_MAX_BYTES = 1 << 28
"""Bytes of one message; a length above it was written by somebody else."""
_CHUNK = 1 << 16


class Garbled(ValueError):
    """What arrived is no message."""


def encode(message: Message) -> bytes:
    """Return `message` as it goes over the wire."""
    body = json.dumps(message).encode("ascii")
    return _LENGTH.pack(len(body)) + body


def send(descriptor: int, message: Message) -> None:
    """Write all of `message`. Raises `OSError` where nobody reads any more."""
    rest = memoryview(encode(message))
    while rest:
        rest = rest[os.write(descriptor, rest) :]


class Decoder:
    """Takes bytes as they come and gives whole messages."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, chunk: bytes) -> Iterator[Message]:
        """Yield the messages that `chunk` completes. Raises `Garbled` for what is none."""
        self._held += chunk
        while len(self._held) >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._held)
            if size > _MAX_BYTES:
                raise Garbled(f"a message of {size} bytes, expected at most {_MAX_BYTES}")
            end = _LENGTH.size + size
            if len(self._held) < end:
                return
            body = bytes(self._held[_LENGTH.size : end])
            del self._held[:end]
            try:
                message = json.loads(body)
            except (ValueError, RecursionError) as error:
                raise Garbled(f"no JSON: {error}") from None
            if not isinstance(message, dict):
                raise Garbled(f"{type(message).__name__}, expected an object")
            yield cast(Message, message)


def receive(descriptor: int) -> Iterator[Message]:
    """Yield the messages that arrive until the other end is closed. Raises `Garbled` for what is none."""
    decoder = Decoder()
    while chunk := os.read(descriptor, _CHUNK):
        yield from decoder.feed(chunk)


def pack(value: Any) -> Any:
    """Return a value of Python literals in JSON's types, so that `unpack` gives it back with its types.

    Raises `TypeError` for what is no literal.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [pack(item) for item in value]
    if isinstance(value, Mapping):
        return {"mapping": [[pack(key), pack(item)] for key, item in value.items()]}
    for name, (kind, taken_apart, _) in _TAGGED.items():
        if isinstance(value, kind):
            return {name: pack(taken_apart(value))}
    raise TypeError(
        f"{value!r} is {type(value).__name__}, which cannot go to a worker process; expected a Python literal"
    )


def unpack(value: Any) -> Any:
    """Return the value that `pack` was given."""
    if isinstance(value, list):
        return [unpack(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((name, content),) = value.items()
    if name == "mapping":
        return {unpack(key): unpack(item) for key, item in content}
    return _TAGGED[name][2](unpack(content))


_TAGGED: Mapping[str, tuple[type, Any, Any]] = {
    "tuple": (tuple, list, tuple),
    "set": (set, list, set),
    "bytes": (bytes, list, bytes),
    "complex": (complex, lambda number: [number.real, number.imag], lambda parts: complex(*parts)),
}
"""Name on the wire -> (type, how it is taken apart, how it is put together)."""

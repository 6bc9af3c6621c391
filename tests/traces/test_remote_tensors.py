"""The header of a safetensors file that is read by ranges: the format's rules, each broken once."""

import json

import numpy as np
import pytest

from optconform.conformance.traces import TraceError
from optconform.conformance.traces.remote_tensors import read_header


def header(entry, data=b"\0" * 8, **others):
    raw = json.dumps({"w": entry, **others}).encode()
    return len(raw).to_bytes(8, "little") + raw + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def parsed(raw):
    return read_header(len(raw), lambda start, stop: bytearray(raw[start:stop]), "file")


def test_a_sound_header():
    raw = header(entry(), np.array([1, 2], np.float32).tobytes(), __metadata__={"format": "np"})
    file = parsed(raw)
    assert list(file.keys()) == ["w"]
    assert file.get_tensor("w").tolist() == [1.0, 2.0]
    assert file.get_slice("w")[1:].tolist() == [2.0]


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0), ()])
def test_tensors_without_dimensions_or_elements(shape):
    values = np.ones(shape, np.float32)
    file = parsed(header(entry(shape=shape, offsets=(0, values.nbytes)), values.tobytes()))
    found = file.get_tensor("w")
    np.testing.assert_array_equal(found, values, strict=True)
    found[...] = 2.0
    if shape:
        np.testing.assert_array_equal(file.get_slice("w")[0:2], values, strict=True)


def test_parts_of_a_matrix():
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    tensor = parsed(header(entry(shape=(3, 4), offsets=(0, 48)), values.tobytes())).get_slice("w")
    for rows in (slice(0, 3), slice(1, 2), slice(1, 1), slice(2, 9)):
        np.testing.assert_array_equal(tensor[rows], values[rows], strict=True)
        for columns in (slice(0, 4), slice(1, 3), slice(3, 4)):
            np.testing.assert_array_equal(tensor[rows, columns], values[rows, columns], strict=True)


HEADERS = {
    "empty": (b"", "no header in a file of 0"),
    "cut": (b"\1\0\0", "no header"),
    "length-beyond": ((2**62).to_bytes(8, "little") + b"{}", "a header of 4611686018427387904 bytes"),
    "length-zero": ((0).to_bytes(8, "little") + b"{}", "a header of 0 bytes"),
    "no-json": ((2).to_bytes(8, "little") + b"\xff\xff", "no valid JSON"),
    "an-array": ((2).to_bytes(8, "little") + b"[]", "an array as the header"),
    "no-object": (header(1), "a number as 'w'"),
    "unknown-dtype": (header(entry("X9")), "dtype 'X9'"),
    "shape-negative": (header(entry(shape=(-2,))), "shape (-2,)"),
    "shape-deep": (header(entry(shape=[1] * 33)), "a shape"),
    "shape-huge": (header(entry(shape=(10**4000,))), "a shape"),
    "offsets-three": (header(entry(offsets=(0, 8, 9))), "two offsets"),
    "offsets-back": (header(entry(offsets=(8, 0))), "found -8 bytes"),
    "bytes-too-many": (header(entry(shape=(3,))), "found 8 bytes; expected 12"),
    "beyond-the-file": (header(entry(), b"\0" * 4), "found values of 8 bytes; expected 4"),
    "behind-the-values": (header(entry(), b"\0" * 9), "found values of 8 bytes; expected 9"),
    "overlap": (header(entry(), v=entry()), "from byte 8 on"),
    "gap": (header(entry(offsets=(4, 12)), b"\0" * 12), "from byte 0 on"),
}


@pytest.mark.parametrize(("raw", "words"), HEADERS.values(), ids=HEADERS)
def test_a_header_that_is_refused(raw, words):
    with pytest.raises(TraceError) as refused:
        parsed(raw)
    assert words in str(refused.value)

"""Random corruptions of a trace directory, for test_random_corruption.py: each changes the folder in place."""

import copy
import hashlib
import json
import os
import sys

import numpy as np

INDEX = "index.json"

# Values to put into a document. Each is a function of the generator, so that nothing is shared between cases.

HUGE = 10**400
VALUES = (
    *(None, True, False, 0, 1, 2, -1, -(2**63), 2**31, 2**48, 2**63 - 1, 2**63, 2**64, HUGE, -HUGE, 10**4000),
    *(0.0, -0.0, 0.5, 1.5, -2.5, 1e308, 5e-324, 1e17),
    *("", " ", "w", "dense", "late", "float64", "int64", "object", "\x1b[2J", "\0", "\ud800", "x" * 10_000),
    *("../outside.safetensors", "/etc/passwd", "..", ".", "C:\\x.safetensors", "a/b.safetensors", "index.json"),
    *("initial.safetensors", "after-00001.safetensors", "file:///etc/passwd", "0" * 64, "__metadata__"),
    *([], {}, [0], [1, 2], [[1, 2]], ["dense"], [None], [[]], {"file": "x"}, {"": None}, [HUGE], [2**62, 2**62]),
    *([0, 2**62, 2**62], [[1, 0.1], [1, 0.1]], [[1, [[[0.1]]]]], [[1, HUGE]], [[1, {"a": HUGE}]]),
)


def nested(depth, kind):
    """A value that is `depth` arrays or objects deep."""
    value = 1
    for _ in range(depth):
        value = [value] if kind else {"x": value}
    return value


def any_value(rng):
    if rng.random() < 0.08:
        return nested(int(rng.choice([3, 17, 40, 200, 400])), rng.random() < 0.5)
    return copy.deepcopy(VALUES[rng.integers(len(VALUES))])


def nodes(document):
    """Every (container, key) of a document."""
    found, waiting = [], [document]
    while waiting:
        at = waiting.pop()
        keys = list(at) if isinstance(at, dict) else range(len(at))
        found += [(at, key) for key in keys]
        waiting += [at[key] for key in keys if isinstance(at[key], (dict, list))]
    return found


def near(rng, value):
    """A value like `value`: the next number, another case, one entry more."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + int(rng.choice([-2, -1, 1, 2, 1000]))
    if isinstance(value, float):
        return float(rng.choice([-value, value * 2, np.nextafter(value, 1.0), int(value)]))
    if isinstance(value, str):
        return str(rng.choice([value + "x", value[:-1], value.upper(), "../" + value, value + "\n", "/" + value]))
    if isinstance(value, list):
        return [[*value, *copy.deepcopy(value[:1])], value[1:], value[::-1], [value]][rng.integers(4)]
    return any_value(rng)


def change_document(rng, document, among=None):
    """One edit anywhere in a JSON document, or in the part of it that is `among`."""
    found = nodes(document if among is None else among)
    if not found:
        return
    container, key = found[rng.integers(len(found))]
    match rng.integers(7):
        case 0:
            del container[key]
        case 1:
            container[key] = any_value(rng)
        case 2 | 3:
            container[key] = near(rng, container[key])
        case 4:
            other, at = found[rng.integers(len(found))]
            other[at], container[key] = copy.deepcopy(container[key]), copy.deepcopy(other[at])
        case 5 if isinstance(container, list):
            container.append(copy.deepcopy(container[key]))
        case 5:
            container[f"{key}x"] = container.pop(key)
        case _:
            other, at = found[rng.integers(len(found))]
            other[at] = copy.deepcopy(container[key])


def shards(folder):
    return sorted(file for file in folder.iterdir() if file.suffix == ".safetensors")


def some(rng, sequence):
    return sequence[rng.integers(len(sequence))]


def replace(file, raw):
    """New bytes under the name, whatever lay there."""
    file.unlink()
    file.write_bytes(raw)


def flip_bits(rng, folder):
    file = some(rng, sorted(folder.iterdir()))
    raw = bytearray(file.read_bytes())
    for _ in range(rng.integers(1, 9)):
        raw[rng.integers(len(raw))] ^= 1 << rng.integers(8)
    replace(file, raw)


def truncate(rng, folder):
    file = some(rng, sorted(folder.iterdir()))
    raw = file.read_bytes()
    replace(file, raw[: rng.integers(len(raw))])


def extend(rng, folder):
    file = some(rng, sorted(folder.iterdir()))
    replace(file, file.read_bytes() + some(rng, [b"\0", b"x" * 9, b"\n", rng.bytes(100), b"}", b" " * 8]))


def swap(rng, folder):
    left, right = (some(rng, shards(folder)) for _ in range(2))
    one, other = left.read_bytes(), right.read_bytes()
    replace(left, other)
    replace(right, one)


def remove(rng, folder):
    some(rng, sorted(folder.iterdir())).unlink()


def link(rng, folder):
    """Links, pipes and folders in place of a file; what they lead to is a file that could be taken for it."""
    file = some(rng, sorted(folder.iterdir()))
    outside = folder.parent / "outside" / file.name
    outside.write_bytes(file.read_bytes())
    file.unlink()
    match rng.integers(7):
        case 0:
            file.symlink_to(outside)
        case 1:
            file.symlink_to(os.path.relpath(outside, folder))
        case 2:
            file.symlink_to(file.name)
        case 3:
            os.mkfifo(file)
        case 4:
            file.mkdir()
        case 5:
            file.hardlink_to(some(rng, sorted(folder.iterdir())))
        case _:
            file.hardlink_to(outside)  # the same bytes inside the folder: as good as a copy


def edit_index(rng, folder):
    document = json.loads((folder / INDEX).read_text())
    for _ in range(rng.integers(1, 3)):
        change_document(rng, document)
    write_index(folder, document)


def edit_meaning(rng, folder):
    """Edits of what no digest of a file speaks against: steps, gradients that are missing, the run."""
    document = json.loads((folder / INDEX).read_text())
    run = document["run"]
    parts = [document["missing"], document["parameters"], document["provenance"], {"m": document["multipliers"]}]
    parts += [run["groups"], {"skipped": run["skipped"]}, run["segments"], run["sample"], run["groups"]]
    for _ in range(rng.integers(1, 4)):
        change_document(rng, document, some(rng, parts))
    write_index(folder, document)


def edit_bytes_of_index(rng, folder):
    """Keys twice, numbers that are none, text that is no JSON."""
    raw = (folder / INDEX).read_bytes()
    at = int(rng.integers(len(raw)))
    found = [place for place, byte in enumerate(raw) if byte in b"{[:,]}"]
    match rng.integers(5):
        case 0:
            raw = raw[:at] + some(rng, [b"NaN", b"Infinity", b"1e999", b"\xff", b"\0", b"\\u0000", b"-"]) + raw[at:]
        case 1:
            raw = raw.replace(b'"step": 4', b'"step": 4, "step": 4', 1)
        case 2:
            place = some(rng, found)
            raw = raw[:place] + some(rng, [b",", b"{", b"}", b"[", b"]", b":"]) + raw[place + 1 :]
        case 3:
            raw = b"[" * int(rng.choice([10, 2000, 200_000])) + raw
        case _:
            raw = b'{"name": "other", ' + raw.lstrip()[1:]
    replace(folder / INDEX, raw)


NOT_FINITE = (b"\xff" * 8, b"\0\0\x80\x7f", b"\0\x7c", b"\xc0\x7f")
"""NaN and infinity in one format or another."""


def change_values(rng, folder):
    """Other values in a file, not finite ones among them, with sizes and digests to fit."""
    file = some(rng, shards(folder))
    raw = bytearray(file.read_bytes())
    begin = 8 + int.from_bytes(raw[:8], "little")
    if begin < len(raw):
        pattern = some(rng, [*NOT_FINITE, b"\0" * 8, rng.bytes(8), b"\xff" * 7 + b"\x7f"])
        at = begin + int(rng.integers((len(raw) - begin) // 2)) * 2
        raw[at : at + len(pattern)] = pattern[: len(raw) - at]
    replace(file, raw)
    sign(folder)


def change_header(rng, folder):
    """Another header: offsets, shapes, dtypes, names, lengths, with sizes and digests to fit."""
    file = some(rng, shards(folder))
    raw = file.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    text, values = raw[8 : 8 + length], raw[8 + length :]
    match rng.integers(6):
        case 0:
            other = some(rng, [0, 1, length - 1, length + 1, 2**31, 2**32, 2**62, 2**64 - 1])
            raw = other.to_bytes(8, "little") + raw[8:]
        case 1:
            text = text.rstrip() + text.rstrip()
            raw = len(text).to_bytes(8, "little") + text + values
        case 2:
            raw = raw + rng.bytes(int(rng.integers(1, 9)))
        case _:
            document = json.loads(text)
            change_document(rng, document)
            text = json.dumps(document, default=str).encode()
            raw = len(text).to_bytes(8, "little") + text + values
    replace(file, raw)
    sign(folder)


def swap_and_sign(rng, folder):
    swap(rng, folder)
    sign(folder)


CORRUPTIONS = (
    *(flip_bits, truncate, extend, swap, remove, link, edit_bytes_of_index, change_values, change_values),
    *(change_header, change_header, swap_and_sign, edit_index, edit_index, edit_meaning, edit_meaning, edit_meaning),
)


def entries(document):
    """Every object in a document that names a file."""
    found = [document] if isinstance(document.get("file"), str) else []
    for container, key in nodes(document):
        value = container[key]
        if isinstance(value, dict) and isinstance(value.get("file"), str):
            found.append(value)
    return found


def sign(folder):
    """Sizes and digests in the index as of the files, as somebody who forges a trace would write them."""
    try:
        document = json.loads((folder / INDEX).read_text())
    except (ValueError, OSError):
        return
    for entry in entries(document) if isinstance(document, dict) else ():
        file = folder / entry["file"]
        if "/" not in entry["file"] and "\0" not in entry["file"] and file.is_file():
            raw = file.read_bytes()
            entry.update(bytes=len(raw), sha256=hashlib.sha256(raw).hexdigest())
    write_index(folder, document)


def write_index(folder, document):
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        replace(folder / INDEX, json.dumps(document).encode())
    finally:
        sys.set_int_max_str_digits(limit)

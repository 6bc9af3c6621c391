"""A thousand random corruptions of a trace that holds all that a trace can hold.

Each is refused with a `TraceError`, or what is read is harmless: the same bits as before, or, under another digest,
another trace that keeps every promise of the format. None crashes, hangs, or reads outside the folder. What lies
behind an address goes through a reader of its own, which has to come to the same end.
"""

import copy
import hashlib
import itertools
import json
import os
import shutil
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from optconform.conformance.traces import DTYPES, TraceError, files, open_trace, summary

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs alarms, links and pipes")

INDEX = "index.json"
SEEDS, CASES = 20, 50
SECONDS = 10.0
"""For one case, which takes some 10 ms: longer is a hang."""


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


# Corruptions: each changes the folder in place.


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


# What is looked at.


def everything(trace):
    """All that can be read of a trace, as bits that can be compared."""

    def bits(value):
        if isinstance(value, dict):
            return {key: bits(each) for key, each in value.items()}
        return None if value is None else (value.dtype.name, value.shape, value.tobytes())

    return {
        "index": [trace.parameters, trace.multipliers, dict(trace.missing), trace.name, trace.provenance, trace.run],
        "initial": bits(trace.initial_parameters()),
        "steps": [(step.index, step.multiplier, bits(step.gradients)) for step in trace.steps()],
        "after": [bits(trace.parameters_after(step)) for step in range(1, trace.n_steps + 1)],
        "state": [bits(trace.state_before(segment)) for segment in (trace.run.segments if trace.run else ())],
        "coordinates": [bits(trace.coordinates(p.name)) for p in trace.parameters],
    }


def check_promises(trace, folder):
    """What every trace keeps, whoever wrote it."""
    assert trace.sha256 == hashlib.sha256((folder / INDEX).read_bytes()).hexdigest()
    shapes = {p.name: p.shape for p in trace.parameters}
    initial = trace.initial_parameters()
    assert initial.keys() == shapes.keys()
    held = dict.fromkeys(shapes, False)
    for step in trace.steps():
        after = trace.parameters_after(step.index)
        assert {name for name, gradient in step.gradients.items() if gradient is None} == set(
            trace.missing.get(step.index, ())
        )
        for p in trace.parameters:
            gradient = step.gradients[p.name]
            if gradient is not None:
                assert gradient.shape == p.shape
                assert gradient.dtype == DTYPES[p.dtype]
                assert np.isfinite(gradient).all()
                block = trace.block(p.name, step.index, 0, p.size)
                assert block.tobytes() == gradient.tobytes()
            if after is not None:
                held[p.name] = held[p.name] or gradient is not None
                assert p.name in after or not held[p.name], "theta of a parameter that takes part is not lost"
                held[p.name] = p.name in after
        assert all(np.isfinite(array).all() for array in (after or {}).values())
    assert all(np.isfinite(array).all() for array in initial.values())
    for p in trace.parameters:
        found = trace.coordinates(p.name)
        assert (found is None) == (p.sampled_from is None)
        if found is not None:
            whole = int(np.prod(p.sampled_from))
            assert found.dtype == np.int64
            assert found.shape == p.shape
            assert len({at for at in found.tolist() if 0 <= at < whole}) == len(found)
    json.dumps(trace.provenance, indent=1)
    summary.summarize_gradients(trace)
    if trace.run is not None:
        check_run(trace, shapes)


def check_run(trace, shapes):
    run = trace.run
    for step in run.skipped:
        assert trace.missing[step] == shapes.keys(), "a step that was skipped has no gradients"
    owned = [name for group in run.groups for name in group.parameters]
    assert len(set(owned)) == len(owned)
    assert set(owned) <= shapes.keys()
    for group in run.groups:
        for step in range(1, trace.n_steps + 1):
            values = group.at(step)
            json.dumps(values, indent=1)
            for value in values.values():
                if isinstance(value, (int, float)):
                    assert np.isfinite(float(value))
    stretches = [(segment.step, segment.training_step) for segment in run.segments]
    for (step, number), (later, later_number) in itertools.pairwise(stretches):
        assert later_number - number >= later - step > 0, "segments do not overlap in the run"
    for segment in run.segments:
        for slot in trace.state_before(segment).values():
            for name, array in slot.items():
                assert array.shape in (shapes[name], ())
                assert np.isfinite(array).all()


_opened = None
"""The files opened while a case is read, or None between cases: an audit hook stays for ever."""


def _note(event, arguments):
    if _opened is not None and event == "open":
        _opened.append(arguments[0])


@pytest.fixture(scope="module", autouse=True)
def _audited():
    sys.addaudithook(_note)


@contextmanager
def guarded(folder, monkeypatch):
    """Note what is opened, by Python or by the safetensors library, and end what hangs."""
    global _opened

    def opening(file, **options):
        _opened.append(file)
        return safe_open(file, **options)

    def hung(*_):
        raise AssertionError(f"still reading after {SECONDS} s")

    monkeypatch.setattr(files, "safe_open", opening)
    before = signal.signal(signal.SIGALRM, hung)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    _opened = []
    try:
        yield
        for name in _opened:
            if isinstance(name, (str, bytes, os.PathLike)):
                file = Path(os.fsdecode(name)).absolute()
                if file.is_relative_to(sys.base_prefix) or file.suffix == ".py":
                    continue  # a module that is imported when it is first needed
                assert ".." not in file.parts
                assert file.parent == folder, f"{file} was opened"
                assert not file.is_symlink()
    finally:
        _opened = None
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def outcome(location):
    """What is read there, or None where it is refused as it should be."""
    try:
        return open_trace(location)
    except TraceError as error:
        refusal = error
    assert str(refusal).isprintable()
    assert len(str(refusal)) < 5000
    assert all((refusal.found, refusal.expected, refusal.remedy))
    return None


@pytest.fixture(scope="module")
def sound(tmp_path_factory, tools):
    return tools.write_rich(tmp_path_factory.mktemp("corrupted") / "sound")


class Restored:
    """A folder of files that can be brought back to what it was; what was not touched is not written again."""

    def __init__(self, folder, contents):
        self.folder, self.contents, self.marks = folder, contents, {}
        folder.mkdir()

    def restore(self):
        for file in self.folder.iterdir():
            if self.marks.get(file.name) != self.mark(file):
                shutil.rmtree(file) if file.is_dir() and not file.is_symlink() else file.unlink()
        for name in self.contents.keys() - {file.name for file in self.folder.iterdir()}:
            (self.folder / name).write_bytes(self.contents[name])
            self.marks[name] = self.mark(self.folder / name)

    def mark(self, file):
        status = file.lstat()
        return status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_nlink


@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_corruption(sound, tmp_path, monkeypatch, seed):
    rng = np.random.default_rng([seed, 2026])
    expected, digest = everything(open_trace(sound)), open_trace(sound).sha256
    folder = tmp_path / "t"
    (tmp_path / "outside").mkdir()
    restored = Restored(folder, {file.name: file.read_bytes() for file in sound.iterdir()})
    refused = 0
    for case in range(CASES):
        restored.restore()
        corruption = some(rng, CORRUPTIONS)
        corruption(rng, folder)
        what = f"seed {seed}, case {case}, {corruption.__name__}"
        try:
            with guarded(folder, monkeypatch):
                trace = outcome(folder)
                found = None if trace is None else everything(trace)
                if trace is not None:
                    check_promises(trace, folder)
            if trace is None:
                refused += 1
            elif trace.sha256 == digest:
                assert found == expected
            if corruption is change_header:  # the one part of reading that is done twice
                far = outcome(f"local://{folder}")
                assert (far is None) == (trace is None), "what is read by ranges is refused where a directory is"
                assert far is None or everything(far) == found
        except BaseException as error:
            error.add_note(what)
            raise
    assert refused > CASES / 3

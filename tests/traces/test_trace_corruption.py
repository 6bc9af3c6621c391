"""Every damaged or forged trace is refused with a message that says which file, which tensor, and why."""

import json
import os
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from optconform.conformance.traces import TraceError, open_trace, verifying

INITIAL = "initial.safetensors"
FIRST = "gradients-00001.safetensors"
SECOND = "gradients-00002.safetensors"
LAST = "gradients-00003.safetensors"
INDEX = "index.json"


def flip(file, position):
    def corrupt(folder):
        raw = bytearray((folder / file).read_bytes())
        raw[position] ^= 1
        (folder / file).write_bytes(raw)

    return corrupt


def content(file, change):
    """Replace the bytes of a file."""

    def corrupt(folder):
        (folder / file).write_bytes(change((folder / file).read_bytes()))

    return corrupt


def swap(left, right):
    def corrupt(folder):
        (folder / left).rename(folder / "aside")
        (folder / right).rename(folder / left)
        (folder / "aside").rename(folder / right)

    return corrupt


def tensors(file, change):
    """Replace the tensors of a shard."""

    def corrupt(folder):
        loaded = load_file(folder / file)
        change(loaded)
        save_file(loaded, folder / file)

    return corrupt


def value(name, position, number):
    def change(loaded):
        loaded[name].reshape(-1)[position] = number

    return change


def link(file, target):
    def corrupt(folder):
        outside = folder.parent / "outside"
        outside.write_bytes((folder / file).read_bytes())
        (folder / file).unlink()
        (folder / file).symlink_to(target(folder, outside))

    return corrupt


def pipe(file):
    def corrupt(folder):
        (folder / file).unlink()
        os.mkfifo(folder / file)

    return corrupt


def oversized(folder):
    with (folder / INDEX).open("r+b") as stream:
        stream.truncate(64 * 2**20 + 1)


def index_folder(folder):
    (folder / INDEX).unlink()
    (folder / INDEX).mkdir()


header = (2**62).to_bytes(8, "little")

# What happens to a sound trace; the file and tensor the refusal has to name; what it has to say.
DAMAGED = {
    "bit-of-theta_0": (flip(INITIAL, -1), INITIAL, None, "SHA-256"),
    "bit-of-a-gradient": (flip(SECOND, -1), SECOND, None, "SHA-256"),
    "bit-of-a-header": (flip(FIRST, 20), FIRST, None, ""),
    "truncated-by-a-byte": (content(LAST, lambda raw: raw[:-1]), LAST, None, "bytes as in index.json"),
    "emptied": (content(LAST, lambda raw: b""), LAST, None, "found 0 bytes"),
    "appended": (content(INITIAL, lambda raw: raw + b"x"), INITIAL, None, "bytes as in index.json"),
    "removed": (lambda folder: (folder / SECOND).unlink(), SECOND, None, "No such file"),
    "shards-swapped": (swap(FIRST, SECOND), FIRST, None, "SHA-256"),
    "theta_0-and-gradients-swapped": (swap(FIRST, INITIAL), INITIAL, None, "bytes as in index.json"),
    "shard-is-a-link-outside": (link(SECOND, lambda _, outside: outside), SECOND, None, "a symbolic link"),
    "shard-is-a-relative-link": (link(SECOND, lambda *_: "../outside"), SECOND, None, "a symbolic link"),
    "shard-is-a-link-to-itself": (link(SECOND, lambda *_: SECOND), SECOND, None, "a symbolic link"),
    "index-is-a-link": (link(INDEX, lambda _, outside: outside), INDEX, None, "a symbolic link"),
    "index-is-a-directory": (index_folder, INDEX, None, "not a regular file"),
    "index-is-huge": (oversized, INDEX, None, "expected at most 67108864 bytes"),
    "index-removed": (lambda folder: (folder / INDEX).unlink(), "stored", None, "no index.json in it"),
    "index-empty": (content(INDEX, lambda raw: b""), INDEX, None, "no valid JSON"),
    "index-cut": (content(INDEX, lambda raw: raw[:-9]), INDEX, None, "no valid JSON"),
    "index-not-utf-8": (content(INDEX, lambda raw: b"\xff" + raw), INDEX, None, "no valid JSON"),
    "index-nested": (content(INDEX, lambda raw: b"[" * 200_000), INDEX, None, "no valid JSON"),
    "index-key-twice": (content(INDEX, lambda raw: b'{"name": "x",' + raw[1:]), INDEX, None, "the key 'name' twice"),
    "index-an-array": (content(INDEX, lambda raw: b"[]"), INDEX, None, "an array as the document"),
    "index-a-nan": (content(INDEX, lambda raw: raw.replace(b"1.0", b"NaN", 1)), INDEX, None, "non-finite number NaN"),
    "index-an-overflow": (content(INDEX, lambda raw: raw.replace(b"1.0", b"1e999", 1)), INDEX, None, "1e999"),
}

# As above, with sizes and digests in the index made to fit afterwards.
FORGED = {
    "nan-gradient": (tensors(SECOND, value("w", 17, np.nan)), SECOND, "w", "nan in step 4 at flat index 5"),
    "infinite-gradient": (tensors(FIRST, value("s", 0, -np.inf)), FIRST, "s", "-inf in step 1 at flat index 0"),
    "nan-theta_0": (tensors(INITIAL, value("w", 7, np.nan)), INITIAL, "w", "nan in theta_0 at flat index 7"),
    "tensor-missing": (tensors(FIRST, lambda t: t.pop("s")), FIRST, "s", "no such tensor"),
    "tensor-extra": (tensors(FIRST, lambda t: t.update(q=t["s"])), FIRST, "q", "does not declare"),
    "tensor-renamed": (tensors(INITIAL, lambda t: t.update({"\x1b": t.pop("w")})), INITIAL, "\x1b", "not declare"),
    "gradient-shape": (tensors(FIRST, lambda t: t.update(w=t["w"].reshape(12, 2))), FIRST, "w", r"F32 (12, 2)"),
    "gradient-rows": (tensors(FIRST, lambda t: t.update(s=t["s"][:1])), FIRST, "s", r"expected F32 (2, 1)"),
    "gradient-dtype": (tensors(FIRST, lambda t: t.update(w=t["w"].astype("f8"))), FIRST, "w", "found F64"),
    "integer-gradient": (tensors(FIRST, lambda t: t.update(w=t["w"].view("i4"))), FIRST, "w", "found I32"),
    "theta_0-shape": (tensors(INITIAL, lambda t: t.update(w=t["w"].T.copy())), INITIAL, "w", r"found F32 (4, 3)"),
    "theta_0-dtype": (tensors(INITIAL, lambda t: t.update(w=t["w"].astype("f2"))), INITIAL, "w", "found F16"),
    "cut": (content(FIRST, lambda raw: raw[:-4]), FIRST, None, "no valid safetensors file"),
    "empty": (content(FIRST, lambda raw: b""), FIRST, None, "no valid safetensors file"),
    "garbage": (content(FIRST, lambda raw: b"\x80\x04garbage" * 9), FIRST, None, "no valid safetensors file"),
    "huge-header": (content(FIRST, lambda raw: header + raw[8:]), FIRST, None, "no valid safetensors file"),
    "header-no-json": (content(FIRST, lambda raw: raw[:8] + b"\0" + raw[9:]), FIRST, None, "no valid safetensors file"),
}


def edit(**changes):
    return lambda document: document.update(changes)


def first_shard(**changes):
    return lambda document: document["gradients"][0].update(changes)


def first_parameter(**changes):
    return lambda document: document["parameters"][0].update(changes)


# Edits of the index alone.
EDITED = {
    "schema-2": (edit(schema="optconform/trace/2"), None, "schema 'optconform/trace/2'"),
    "schema-missing": (lambda d: d.pop("schema"), None, "no field 'schema'"),
    "schema-a-number": (edit(schema=1), None, "a number as 'schema'"),
    "name-null": (edit(name=None), None, "null as 'name'"),
    "provenance-text": (edit(provenance="me"), None, "a string as 'provenance'"),
    "parameters-none": (edit(parameters=[]), None, "no parameters"),
    "parameters-text": (edit(parameters=["w"]), None, "a string as 'parameters' entry 0"),
    "parameter-twice": (lambda d: d["parameters"].append(d["parameters"][0]), "w", "the name twice"),
    "parameter-extra": (lambda d: d["parameters"].append({**d["parameters"][0], "name": "v"}), "v", "no such tensor"),
    "parameter-dropped": (lambda d: d["parameters"].pop(0), "w", "an unknown parameter in 'missing'"),
    "parameter-of-a-tensor-dropped": (lambda d: (d["parameters"].pop(0), d.update(missing=[])), "w", "not declare"),
    "parameter-name": (first_parameter(name="\ud800"), "\ud800", "UTF-8"),
    "shape-other": (first_parameter(shape=[4, 3]), "w", "expected F32 (4, 3)"),
    "shape-negative": (first_parameter(shape=[-3, -4]), "w", "shape (-3, -4)"),
    "shape-fraction": (first_parameter(shape=[3.0, 4]), "w", "a number in the shape"),
    "shape-boolean": (first_parameter(shape=[True, 12]), "w", "a boolean in the shape"),
    "shape-huge": (first_parameter(shape=[2**40, 2**40]), "w", "fewer than 2**48"),
    "shape-deep": (first_parameter(shape=[1] * 33), "w", "at most 32"),
    "dtype-other": (first_parameter(dtype="float64"), "w", "expected F64"),
    "dtype-unknown": (first_parameter(dtype="object"), "w", "dtype 'object'"),
    "multiplier-negative": (lambda d: d["multipliers"].__setitem__(2, -0.1), None, "multiplier -0.1 at step 3"),
    "multiplier-boolean": (lambda d: d["multipliers"].__setitem__(2, True), None, "True in 'multipliers'"),
    "multiplier-text": (lambda d: d["multipliers"].__setitem__(2, "1"), None, "1 in 'multipliers'"),
    "multiplier-huge": (lambda d: d["multipliers"].__setitem__(2, 10**400), None, "in 'multipliers'"),
    "multiplier-missing": (lambda d: d["multipliers"].pop(), None, "steps 5..5"),
    "multiplier-extra": (lambda d: d["multipliers"].append(1.0), None, "no shard for step 6"),
    "steps-gap": (lambda d: d["gradients"].pop(1), None, "steps 5..5 in"),
    "steps-end-missing": (lambda d: d["gradients"].pop(), None, "no shard for step 5"),
    "steps-overlap": (first_shard(last_step=3), None, "where step 4 is due"),
    "steps-backwards": (first_shard(last_step=0), None, "steps 1..0"),
    "steps-from-zero": (first_shard(first_step=0), None, "where step 1 is due"),
    "steps-order": (lambda d: d["gradients"].reverse(), None, "where step 1 is due"),
    "shard-twice": (lambda d: d["gradients"].append(d["gradients"][0]), None, "twice"),
    "shard-above": (first_shard(file="../outside.safetensors"), None, "'../outside.safetensors'"),
    "shard-absolute": (first_shard(file="/etc/passwd"), None, "'/etc/passwd'"),
    "shard-in-a-folder": (first_shard(file="a/b.safetensors"), None, "reads nothing outside"),
    "shard-backslash": (first_shard(file="..\\b.safetensors"), None, "reads nothing outside"),
    "shard-drive": (first_shard(file="C:b.safetensors"), None, "reads nothing outside"),
    "shard-address": (first_shard(file="http://example.org/b.safetensors"), None, "reads nothing outside"),
    "shard-newline": (first_shard(file="b.safetensors\n"), None, "reads nothing outside"),
    "shard-nul": (first_shard(file="b\0.safetensors"), None, "reads nothing outside"),
    "shard-empty": (first_shard(file=""), None, "reads nothing outside"),
    "theta_0-above": (lambda d: d["initial"].update(file="../x.safetensors"), None, "reads nothing outside"),
    "theta_0-missing": (lambda d: d.pop("initial"), None, "no field 'initial'"),
    "digest-short": (first_shard(sha256="0" * 63), None, "64 lower-case"),
    "bytes-negative": (first_shard(bytes=-1), None, "'bytes' = -1"),
    "bytes-fraction": (first_shard(bytes=1.5), None, "a number as 'bytes'"),
    "missing-unknown": (edit(missing=[{"step": 1, "parameters": ["v"]}]), "v", "an unknown parameter"),
    "missing-step": (edit(missing=[{"step": 6, "parameters": ["w"]}]), None, "step 6 in 'missing'"),
    "missing-twice": (edit(missing=[{"step": 1, "parameters": []}] * 2), None, "at most once"),
    "missing-number": (edit(missing=[{"step": 1, "parameters": [0]}]), "0", "an unknown parameter"),
}


def refusal(folder):
    with pytest.raises(TraceError) as refused:
        open_trace(folder)
    error = refused.value
    assert str(error).isprintable()
    assert all((error.found, error.expected, error.remedy))
    return error


def test_the_trace_is_sound_before(stored):
    assert sorted(file.name for file in stored.iterdir()) == [FIRST, SECOND, LAST, INDEX, INITIAL]
    assert [p.name for p in open_trace(stored).parameters] == ["w", "s"]


@pytest.mark.parametrize(("corrupt", "file", "tensor", "words"), DAMAGED.values(), ids=DAMAGED)
def test_damaged(stored, corrupt, file, tensor, words):
    corrupt(stored)
    error = refusal(stored)
    assert (error.file.rpartition(os.sep)[2], error.tensor) == (file, tensor)
    assert words in f"found {error.found}; expected {error.expected}"


@pytest.mark.parametrize(("corrupt", "file", "tensor", "words"), FORGED.values(), ids=FORGED)
def test_forged(stored, tools, corrupt, file, tensor, words):
    corrupt(stored)
    tools.sign(stored)
    error = refusal(stored)
    assert (error.file.rpartition(os.sep)[2], error.tensor) == (file, tensor)
    assert words in f"found {error.found}; expected {error.expected}"


@pytest.mark.parametrize(("change", "tensor", "words"), EDITED.values(), ids=EDITED)
def test_edited_index(stored, tools, change, tensor, words):
    tools.edit_index(stored, change)
    error = refusal(stored)
    assert stored.name in error.file
    assert error.tensor == tensor
    assert words in f"found {error.found}; expected {error.expected}"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders")
@pytest.mark.parametrize("file", [INDEX, SECOND])
def test_a_pipe_is_refused_and_not_waited_for(stored, file):
    pipe(file)(stored)
    assert "not a regular file" in str(refusal(stored))


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_text("x")])
def test_no_directory(tmp_path, make):
    make(tmp_path / "t")
    assert "a directory with an index.json" in str(refusal(tmp_path / "t"))


def test_without_verification_structure_is_still_checked(stored, tools):
    flip(SECOND, -1)(stored)
    assert open_trace(stored, verify=False).n_steps == 5
    tools.edit_index(stored, first_parameter(shape=[4, 3]))
    with pytest.raises(TraceError, match="expected F32"):
        open_trace(stored, verify=False)


@pytest.mark.parametrize("elements", [1, 5, 12, 1000])
def test_the_value_that_is_not_finite_is_found_in_any_block(stored, tools, monkeypatch, elements):
    monkeypatch.setattr(verifying, "VERIFY_ELEMENTS", elements)
    assert open_trace(stored).n_steps == 5
    tensors(SECOND, value("w", 12 + 7, np.nan))(stored)
    tools.sign(stored)
    assert refusal(stored).found == "nan in step 4 at flat index 7"


def test_random_damage_to_a_shard_is_always_refused(stored):
    rng = np.random.default_rng(5)
    for file in (INITIAL, FIRST, SECOND, LAST):
        sound = (stored / file).read_bytes()
        for _ in range(60):
            raw = bytearray(sound)
            raw[rng.integers(len(raw))] ^= 1 << rng.integers(8)
            (stored / file).write_bytes(raw)
            refusal(stored)
        (stored / file).write_bytes(sound)
    assert open_trace(stored).n_steps == 5


def test_random_damage_to_the_index_is_refused_or_changes_the_digest(stored):
    """A changed digit of a multiplier is a valid trace, though another: its digest says so."""
    rng = np.random.default_rng(6)
    sound = (stored / INDEX).read_bytes()
    digest = open_trace(stored).sha256
    refused = 0
    for _ in range(300):
        raw = bytearray(sound)
        raw[rng.integers(len(raw))] ^= 1 << rng.integers(8)
        (stored / INDEX).write_bytes(raw)
        try:
            opened = open_trace(stored)
        except TraceError:
            refused += 1
        else:
            assert opened.sha256 != digest
    assert refused > 200


def test_fields_added_later_are_read_past(stored, tools):
    tools.edit_index(stored, lambda document: (document.update(new=1), document["parameters"][0].update(group=0)))
    assert open_trace(stored).n_steps == 5
    assert json.loads((stored / INDEX).read_text())["new"] == 1

"""Writing: a whole trace or nothing, and never over something else."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from optconform.conformance.traces import Step, TraceError, appending, open_trace, write_trace, writer


def names(folder):
    return sorted(file.name for file in folder.iterdir())


class Faulty:
    """A trace whose steps are not what it promises."""

    def __init__(self, trace, steps):
        self.trace, self.made = trace, steps

    def __getattr__(self, name):
        return getattr(self.trace, name)

    def steps(self, stop=None):
        yield from self.made(list(self.trace.steps()))


def test_existing_trace_is_kept_unless_told_otherwise(tools, tmp_path):
    path = tmp_path / "t"
    first = write_trace(tools.tiny_trace(), path)
    with pytest.raises(TraceError, match="ask to overwrite"):
        write_trace(tools.tiny_trace(name="second"), path)
    assert open_trace(path).sha256 == first.sha256
    assert write_trace(tools.tiny_trace(name="second"), path, overwrite=True).name == "second"
    assert names(tmp_path) == ["t"]


@pytest.mark.parametrize("make", [lambda p: p.write_text("mine"), lambda p: (p.mkdir(), (p / "mine").touch())])
def test_nothing_but_a_trace_is_ever_replaced(tools, tmp_path, make):
    path = tmp_path / "t"
    make(path)
    with pytest.raises(TraceError, match="something that is no trace"):
        write_trace(tools.tiny_trace(), path, overwrite=True)
    assert path.is_file() or (path / "mine").exists()


def test_a_directory_with_more_than_a_trace_in_it_is_not_replaced(tools, tmp_path):
    path = tmp_path / "t"
    write_trace(tools.tiny_trace(), path)
    (path / "thesis.txt").write_text("mine")
    with pytest.raises(TraceError, match=r"a directory that holds 'thesis\.txt' besides"):
        write_trace(tools.tiny_trace(), path, overwrite=True)
    assert (path / "thesis.txt").read_text() == "mine"
    assert open_trace(path)


def test_an_index_of_something_else_is_not_replaced(tools, tmp_path):
    path = tmp_path / "site"
    path.mkdir()
    (path / "index.json").write_text('{"pages": []}')
    with pytest.raises(TraceError, match=r"an index\.json that is no trace's"):
        write_trace(tools.tiny_trace(), path, overwrite=True)
    assert (path / "index.json").read_text() == '{"pages": []}'


@pytest.mark.parametrize("damaged", ["index.json", "gradients-00001.safetensors"])
def test_a_damaged_trace_can_be_replaced(tools, tmp_path, damaged):
    path = tmp_path / "t"
    write_trace(tools.tiny_trace(), path)
    (path / damaged).write_bytes((path / damaged).read_bytes()[:40])
    assert open_trace(write_trace(tools.tiny_trace(), path, overwrite=True).location)


def test_the_directory_above_must_exist(tools, tmp_path):
    with pytest.raises(TraceError, match=r"Create .*above"):
        write_trace(tools.tiny_trace(), tmp_path / "above" / "t")
    assert not (tmp_path / "above").exists()


def _nan(steps):
    steps[1].gradients["w"][0, 0] = np.nan
    return steps


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda steps: steps[:1], "found 1 steps; expected 2 steps"),
        (lambda steps: [*steps, Step(3, 1.0, steps[0].gradients)], "step 3 .* as number 3"),
        (lambda steps: steps[::-1], "step 2 .* as number 1"),
        (lambda steps: [Step(1, 0.25, steps[0].gradients), steps[1]], "multiplier 0.25"),
        (lambda steps: [Step(1, 1.0, {"w": steps[0].gradients["w"]}), steps[1]], "tensor 's': found no entry"),
        (lambda steps: [Step(1, 1.0, {**steps[0].gradients, "w": np.ones(6, np.float32)})], r"\(6,\) as step 1"),
        (_nan, "nan in step 2 at flat index 0"),
    ],
)
@pytest.mark.parametrize("there_before", [False, True])
def test_a_failure_leaves_everything_as_it_was(tools, tmp_path, made, words, there_before):
    path = tmp_path / "t"
    if there_before:
        before = write_trace(tools.tiny_trace(name="before"), path).sha256
    with pytest.raises(TraceError, match=words):
        write_trace(Faulty(tools.tiny_trace(), made), path, steps_per_shard=1, overwrite=True)
    assert names(tmp_path) == (["t"] if there_before else [])
    if there_before:
        assert open_trace(path).sha256 == before


@pytest.mark.parametrize(
    ("module", "failing"),
    [(appending, "write_shard"), (appending, "format_index"), (writer, "move")],
    ids=lambda each: str(each).rpartition(".")[2],
)
def test_a_full_disk_or_an_interrupt_leaves_nothing(tools, tmp_path, monkeypatch, module, failing):
    def refuse(*arguments):
        raise KeyboardInterrupt if failing == "move" else OSError(28, "No space left on device")

    monkeypatch.setattr(module, failing, refuse)
    with pytest.raises((OSError, KeyboardInterrupt)):
        write_trace(tools.tiny_trace(), tmp_path / "t")
    assert names(tmp_path) == []


def test_a_trace_that_cannot_be_replaced_comes_back(tools, tmp_path, monkeypatch):
    path = tmp_path / "t"
    before = write_trace(tools.tiny_trace(name="before"), path).sha256
    rename = type(path).rename

    def refuse_partial(self, target):
        if self.suffix == ".partial":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(type(path), "rename", refuse_partial)
    with pytest.raises(OSError, match="Input/output"):
        write_trace(tools.tiny_trace(), path, overwrite=True)
    assert names(tmp_path) == ["t"]
    assert open_trace(path).sha256 == before


def test_a_trace_can_be_rewritten_from_itself(stored, tools):
    before = open_trace(stored)
    after = write_trace(before, stored, steps_per_shard=1, overwrite=True)
    assert tools.same(before, after)
    assert len(after.index.gradients) == 5


def test_shards_hold_what_was_asked_for(tools, tmp_path):
    shards = write_trace(tools.tiny_trace(), tmp_path / "one", steps_per_shard=1).index.gradients
    assert [(s.file, s.first_step, s.last_step) for s in shards] == [
        ("gradients-00001.safetensors", 1, 1),
        ("gradients-00002.safetensors", 2, 2),
    ]
    assert len(write_trace(tools.tiny_trace(), tmp_path / "default").index.gradients) == 1
    with pytest.raises(ValueError, match="steps_per_shard=0"):
        write_trace(tools.tiny_trace(), tmp_path / "none", steps_per_shard=0)


def test_the_row_of_a_missing_gradient_is_zeros(tools, tmp_path):
    step = {"w": np.ones((2, 3), np.float32), "s": np.array(7.0)}
    trace = tools.tiny_trace(gradients=(step, {"w": None, "s": None}))
    path = Path(write_trace(trace, tmp_path / "t", steps_per_shard=1).location)
    for name, rows in load_file(path / "gradients-00002.safetensors").items():
        assert not rows.any(), name


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no umask for these bits")
def test_files_are_as_readable_as_the_umask_says(tools, tmp_path):
    before = os.umask(0o027)
    try:
        path = Path(write_trace(tools.tiny_trace(), tmp_path / "t").location)
    finally:
        os.umask(before)
    assert {file.name: file.stat().st_mode & 0o777 for file in path.iterdir()} == dict.fromkeys(names(path), 0o640)
    assert path.stat().st_mode & 0o777 == 0o750

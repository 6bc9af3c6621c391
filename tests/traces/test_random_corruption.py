"""A thousand random corruptions of a trace that holds all that a trace can hold.

Each is refused with a `TraceError`, or what is read is harmless: the same bits as before, or, under another digest,
another trace that keeps every promise of the format. None crashes, hangs, or reads outside the folder. What lies
behind an address goes through a reader of its own, which has to come to the same end.
"""

import hashlib
import importlib.util
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

SEEDS, CASES = 20, 50
SECONDS = 10.0
"""For one case, which takes some 10 ms: longer is a hang."""


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
    assert trace.sha256 == hashlib.sha256((folder / "index.json").read_bytes()).hexdigest()
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
def corruptions():
    file = Path(__file__).with_name("random_corruptions.py")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
def test_random_corruption(sound, corruptions, tmp_path, monkeypatch, seed):
    rng = np.random.default_rng([seed, 2026])
    expected, digest = everything(open_trace(sound)), open_trace(sound).sha256
    folder = tmp_path / "t"
    (tmp_path / "outside").mkdir()
    restored = Restored(folder, {file.name: file.read_bytes() for file in sound.iterdir()})
    refused = 0
    for case in range(CASES):
        restored.restore()
        corruption = corruptions.some(rng, corruptions.CORRUPTIONS)
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
            if corruption is corruptions.change_header:  # the one part of reading that is done twice
                far = outcome(f"local://{folder}")
                assert (far is None) == (trace is None), "what is read by ranges is refused where a directory is"
                assert far is None or everything(far) == found
        except BaseException as error:
            error.add_note(what)
            raise
    assert refused > CASES / 3

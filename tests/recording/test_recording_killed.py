"""A recording that is killed, at whatever moment, leaves a valid trace of the steps that were finished, or nothing."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from optconform.adapters.recording import TrainingStep
from optconform.conformance.traces import Parameter, open_trace
from optconform.conformance.traces.appending import TraceAppender
from optconform.conformance.traces.run import RecordedRun
from optconform.conformance.traces.writer import check_target

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks, and kills without a chance to clean up")

SCRIPT = Path(__file__).with_name("killed_recordings.py")
KILLS = {"random": 200, "operation": 60}
"""How many are killed, at random moments or at one of the first steps towards the disk."""


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("killed_recordings", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=KILLS)
def killed(request, tmp_path_factory):
    """The folder in which every recording was killed, in one of the two ways."""
    folder = tmp_path_factory.mktemp(request.param)
    counts = [str(count if pattern == request.param else 0) for pattern, count in KILLS.items()]
    command = [sys.executable, str(SCRIPT), str(folder), *counts, "11"]
    one_thread = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # only one thread may fork
    done = subprocess.run(command, env={**os.environ, **one_thread}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [signal.SIGKILL] * KILLS[request.param], "none had ended before it was killed"
    return folder


def check_known(trace, path, script):
    """The steps of `trace` are the first of the known run, bit for bit."""
    options = script.RecordingOptions(**script.KINDS[path.stem.rpartition("-")[2]])
    numbers = [number for number in range(1, 10 * trace.n_steps + 10) if options.wants(number)]

    def kept(name, array):
        coordinates = options.coordinates(name, script.SHAPES[name])
        return array if coordinates is None else array.reshape(-1)[coordinates]

    for step, number in zip(trace.steps(), numbers, strict=False):
        present = {name: gradient for name, gradient in step.gradients.items() if gradient is not None}
        assert list(present) == script.names(number)
        for name, gradient in present.items():
            assert gradient.tobytes() == kept(name, script.gradient(name, number)).tobytes()
        assert step.multiplier == 1.0 / number
        after = trace.parameters_after(step.index)
        assert (after is not None) == options.snapshots
        for name, value in (after or {}).items():
            assert value.tobytes() == kept(name, script.theta(name, number)).tobytes()
    for segment in trace.run.segments:
        assert segment.training_step == numbers[segment.step - 1]
        for name, value in trace.state_before(segment)["theta"].items():
            assert value.tobytes() == kept(name, script.theta(name, segment.training_step - 1)).tobytes()


def test_what_is_left_is_a_valid_trace_of_the_first_steps(killed, script, request):
    steps = []
    for path in killed.glob("*.trace"):
        trace = open_trace(path)
        check_known(trace, path, script)
        steps.append(trace.n_steps)
    kills = KILLS[request.node.callspec.params["killed"]]
    assert kills / 4 < sum(number > 0 for number in steps) < kills, "the first were killed before there was a step"
    assert len(set(steps)) > 5, "they were killed at different moments"


@pytest.mark.parametrize("killed", ["operation"], indirect=True)
def test_some_were_killed_while_they_wrote_and_the_rest_is_passed_over(killed):
    """The traces above were valid with such files beside them."""
    unfinished = {file.parent for file in killed.glob("*.trace/.*.partial")}
    assert unfinished
    assert all(open_trace(folder) for folder in unfinished)


@pytest.mark.parametrize("killed", ["operation"], indirect=True)
def test_what_was_killed_can_be_recorded_over(killed, script):
    """Even where an unfinished file lies beside the finished ones."""
    unfinished = sorted({file.parent for file in killed.glob("*.trace/.*.partial")})
    assert unfinished
    for path in unfinished[:3]:
        check_target(path, overwrite=True)
        script.record(path, "overwriting", until=3)
        trace = open_trace(path)
        assert trace.n_steps == 3
        assert not list(path.glob(".*"))
        check_known(trace, path.with_name("0-overwriting.trace"), script)


def test_everything_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    """What a power failure may take: whatever was not flushed, and every name in a directory that was not."""
    folder = tmp_path / "t"
    folder.mkdir()
    flushed, named, unflushed_names = {}, [], set()

    def fsync(descriptor):
        status = os.fstat(descriptor)
        flushed[status.st_ino] = status.st_size
        if status.st_ino == folder.stat().st_ino:
            unflushed_names.clear()

    def naming(function):
        def call(path, target):
            status = path.stat()
            assert flushed.get(status.st_ino) == status.st_size, f"{target.name} was not flushed to its end"
            if target.name == "index.json":
                assert not unflushed_names, "the index names files whose names may be lost"
            unflushed_names.add(target.name)
            named.append(target.name)
            return function(path, target)

        return call

    monkeypatch.setattr(os, "fsync", fsync)
    for name in ("rename", "replace"):
        monkeypatch.setattr(Path, name, naming(getattr(Path, name)))
    parameters, initial = [Parameter("w", (2,), "float32", (9,))], {"w": np.zeros(2, np.float32)}
    growing = TraceAppender(
        folder,
        folder,
        name="t",
        parameters=parameters,
        initial=initial,
        coordinates={"w": np.array([1, 5])},
        run=RecordedRun("numpy", "tests:Known"),
    )
    for number in (1, 2):
        growing.begin_segment(number, {"theta": initial})
        growing.append(TrainingStep({"w": np.ones(2, np.float32)}, after=initial))
        growing.flush()
        assert not unflushed_names, "a step counts as written when its name is on the disk"
    growing.join([Parameter("late", (1,), "float32")], {"late": np.zeros(1, np.float32)})
    growing.close()
    assert named.count("index.json") == 4
    assert {name for name in named if name != "index.json"} == {shard.file for shard in open_trace(folder).index.shards}

"""What lies between training and the disk: a thread, a bounded queue, and one warning where anything goes wrong."""

import errno
import itertools
import os
import shutil
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest

import optconform
from optconform.conformance.recording import recording as module
from optconform.conformance.recording.options import RecordingOptions
from optconform.conformance.traces import TraceError, appending, open_trace

pytestmark = pytest.mark.numpy

GRADIENT = np.arange(8.0)


def begin(path, **options):
    return optconform.record({"w": np.zeros(8)}, path, **options)


def steps(recording, count, first=1):
    for step in range(first, first + count):
        recording.step({"w": GRADIENT + step}, lr=0.5)


def written(path):
    """The steps in a trace, told by their gradients."""
    return [int(step.gradients["w"][0]) for step in open_trace(path).steps()]


def warning_of(action):
    """The one `RecordingWarning` of `action`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        action()
    (told,) = [each for each in caught if each.category is optconform.RecordingWarning]
    return str(told.message)


def eventually(holds):
    """Wait until `holds()`; the limit is for a test that fails."""
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def gate(monkeypatch):
    """Hold up the recording's thread before each step until the gate is set."""
    gate = threading.Event()
    append = appending.TraceAppender.append

    def held_up(self, step):
        assert gate.wait(60)
        append(self, step)

    monkeypatch.setattr(appending.TraceAppender, "append", held_up)
    yield gate
    gate.set()


@pytest.fixture
def full_disk(monkeypatch):
    """Set to the number of files that still fit."""
    left = [10**9]
    write_shard = appending.write_shard

    def write(file, *arguments):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device", str(file))
        return write_shard(file, *arguments)

    monkeypatch.setattr(appending, "write_shard", write)
    return left


class TestThread:
    def test_training_does_not_wait_for_the_disk(self, gate, tmp_path):
        recording = begin(tmp_path / "run.trace")
        steps(recording, 20)  # returns although not one of them is written
        assert recording.n_steps == 0
        gate.set()
        recording.close()
        assert written(recording.path) == list(range(1, 21))

    def test_a_slow_disk_makes_training_wait(self, gate, monkeypatch, tmp_path):
        monkeypatch.setattr(module, "QUEUE_BYTES", 5 * GRADIENT.nbytes)
        recording = begin(tmp_path / "run.trace")
        made = []
        training = threading.Thread(target=lambda: [(steps(recording, 1, n), made.append(n)) for n in range(1, 31)])
        training.start()
        training.join(0.3)
        assert training.is_alive()
        assert len(made) <= 5
        gate.set()
        training.join(60)
        recording.close()
        assert written(recording.path) == list(range(1, 31))

    def test_a_step_larger_than_the_queue_goes_alone(self, monkeypatch, tmp_path):
        monkeypatch.setattr(module, "QUEUE_BYTES", 1)
        with begin(tmp_path / "run.trace") as recording:
            steps(recording, 3)
        assert written(recording.path) == [1, 2, 3]

    def test_steps_reach_the_disk_even_if_no_other_comes(self, monkeypatch, tmp_path):
        monkeypatch.setattr(module, "LEAST_SECONDS", 0.01)
        recording = begin(tmp_path / "run.trace")
        for step in (1, 2):
            steps(recording, 1, step)
            eventually(lambda step=step: recording.n_steps == step)
            assert written(recording.path) == list(range(1, step + 1))
        recording.close()

    @pytest.mark.parametrize("place", ["_next_item", "_take", "_flush_when_due"])
    def test_a_thread_that_dies_hangs_nothing(self, place, monkeypatch, tmp_path):
        def die(*_):
            raise SystemExit("enough")

        monkeypatch.setattr(module, "QUEUE_BYTES", 5 * GRADIENT.nbytes)
        monkeypatch.setattr(module.Recording, place, die)
        recording = begin(tmp_path / "run.trace")

        def action():
            steps(recording, 20)
            recording.close()
            recording.close()

        assert "SystemExit: enough. Training goes on" in warning_of(action)
        assert not [entry for entry in tmp_path.iterdir() if entry != recording.path]


class TestFailures:
    @pytest.mark.parametrize("fit", [0, 1, 3])
    def test_a_full_disk_ends_the_recording_with_one_warning(self, fit, full_disk, monkeypatch, tmp_path):
        monkeypatch.setattr(module, "LEAST_SECONDS", 0.0)
        recording = begin(tmp_path / "run.trace")
        full_disk[0] = fit  # the first is theta_0, the others hold a step each

        def action():
            for step in range(1, 7):
                steps(recording, 1, step)
                eventually(lambda: recording._recording._on_its_way == 0)
            recording.close()

        message = warning_of(action)
        assert message.startswith(f"optconform stopped recording {recording.path}: OSError: ")
        assert "No space left on device" in message
        kept = max(fit - 1, 0)
        if kept:
            assert message.endswith(f"Training goes on; the trace keeps {kept} steps.")
            assert written(recording.path) == list(range(1, kept + 1))
        else:
            assert message.endswith("Training goes on; nothing was recorded.")

    def test_a_disk_that_is_full_at_the_end(self, full_disk, tmp_path):
        recording = begin(tmp_path / "run.trace")
        steps(recording, 1)
        eventually(lambda: recording.path.exists())
        full_disk[0] = 0
        steps(recording, 3, 2)
        assert "No space left" in warning_of(recording.close)
        assert open_trace(recording.path).n_steps == 0

    def test_a_directory_that_vanishes(self, monkeypatch, tmp_path):
        monkeypatch.setattr(module, "LEAST_SECONDS", 0.0)
        recording = begin(tmp_path / "run.trace")

        def action():
            steps(recording, 2)
            eventually(lambda: recording.n_steps == 2)
            shutil.rmtree(recording.path)
            steps(recording, 5)
            recording.close()

        message = warning_of(action)
        assert "found nothing of this name any more" in message
        assert message.endswith("Training goes on; the trace of 2 steps is no longer there.")
        assert not recording.path.exists()

    def test_a_directory_that_vanishes_before_the_first_step(self, tmp_path):
        (tmp_path / "runs").mkdir()
        recording = begin(tmp_path / "runs" / "run.trace")
        shutil.rmtree(tmp_path / "runs")

        def action():
            steps(recording, 3)
            recording.close()

        assert "nothing was recorded" in warning_of(action)

    def test_two_recordings_to_one_path(self, tmp_path):
        first, second = begin(tmp_path / "run.trace"), begin(tmp_path / "run.trace")
        steps(first, 3)
        eventually(first.path.exists)
        steps(second, 2)
        first.close()
        assert "something of this name" in warning_of(second.close)
        assert written(first.path) == [1, 2, 3]
        assert list(tmp_path.iterdir()) == [first.path]

    def test_a_recording_that_another_one_overwrites(self, tmp_path):
        first = begin(tmp_path / "run.trace")
        steps(first, 3)
        eventually(first.path.exists)
        inode = first.path.stat().st_ino
        with begin(tmp_path / "run.trace", overwrite=True) as second:
            steps(second, 2)
            eventually(lambda: first.path.exists() and first.path.stat().st_ino != inode)
            assert "another directory than was recorded to" in warning_of(first.close)
        assert written(second.path) == [1, 2]

    def test_a_capture_that_stops_keeps_what_it_put(self, gate, tmp_path):
        recording = begin(tmp_path / "run.trace")
        steps(recording, 3)
        message = warning_of(lambda: [recording._recording.stop("of this."), recording._recording.stop("and of that")])
        assert message.endswith("run.trace: of this. Training goes on; the steps before are kept.")
        steps(recording, 3, 4)
        gate.set()
        recording.close()
        assert written(recording.path) == [1, 2, 3]

    def test_warnings_as_errors_are_told_and_raise_nothing(self, tmp_path, capsys):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            recording = begin(tmp_path / "run.trace")
            recording.step({"w": np.full(8, np.nan)})
            recording.close()
        assert "nan in step 1 at flat index 0" in capsys.readouterr().err

    def test_detaching_that_fails(self, tmp_path):
        recording = begin(tmp_path / "run.trace")
        recording._recording.on_close.append(lambda: 1 / 0)
        steps(recording, 2)
        assert "detaching from the optimizer failed with ZeroDivisionError" in warning_of(recording.close)
        assert written(recording.path) == [1, 2]


class TestClosing:
    def test_twice(self, tmp_path):
        recording = begin(tmp_path / "run.trace")
        steps(recording, 2)
        recording.close()
        before = sorted(file.stat().st_mtime_ns for file in recording.path.iterdir())
        recording.close()
        assert sorted(file.stat().st_mtime_ns for file in recording.path.iterdir()) == before
        assert not any(thread.name == "optconform recording" for thread in threading.enumerate())

    def test_cannot_be_entered_afterwards(self, tmp_path):
        recording = begin(tmp_path / "run.trace")
        with recording._recording:
            steps(recording, 2)
        with pytest.raises(ValueError, match="is closed; begin another"), recording._recording:
            pass

    def test_detaches_first_and_once(self, tmp_path):
        calls = []
        recording = begin(tmp_path / "run.trace")
        recording._recording.on_close += [lambda: calls.append(1), lambda: calls.append(2)]
        steps(recording, 1)
        recording.close()
        recording.close()
        assert calls == [1, 2]

    def test_without_a_step(self, tmp_path):
        recording = begin(tmp_path / "run.trace")
        assert "recorded nothing" in warning_of(recording.close)
        assert list(tmp_path.iterdir()) == []

    def test_without_a_step_that_was_wanted(self, tmp_path):
        recording = begin(tmp_path / "run.trace", steps=range(5, 7))
        steps(recording, 3)
        assert "of the 3 steps made, none was among those to be recorded" in warning_of(recording.close)

    def test_an_error_in_the_block_keeps_the_steps(self, tmp_path):
        def train():
            with begin(tmp_path / "run.trace") as recording:
                steps(recording, 3)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            train()
        assert written(tmp_path / "run.trace") == [1, 2, 3]

    def test_an_interrupt_while_it_closes_loses_nothing(self, gate, monkeypatch, tmp_path):
        recording = begin(tmp_path / "run.trace")
        steps(recording, 3)
        thread = recording._recording._thread
        join = thread.join
        monkeypatch.setattr(thread, "join", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            recording.close()
        monkeypatch.setattr(thread, "join", join)
        gate.set()
        recording.close()
        assert written(recording.path) == [1, 2, 3]

    @pytest.mark.parametrize("size", [8, 2**18], ids=["little", "much"])
    def test_the_end_of_the_interpreter(self, tmp_path, size):
        code = """
import sys, numpy as np, optconform
size = int(sys.argv[2])
recording = optconform.record({"w": np.zeros(size)}, sys.argv[1])
for step in range(1, 4):
    recording.step({"w": np.arange(float(size)) + step})
sys.exit(3)
"""
        path = tmp_path / "run.trace"
        command = [sys.executable, "-c", code, str(path), str(size)]
        result = subprocess.run(command, capture_output=True, text=True)
        assert (result.returncode, result.stderr) == (3, "")
        assert written(path) == [1, 2, 3]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
    def test_the_end_of_a_forked_worker(self, tmp_path):
        code = """
import multiprocessing, sys, numpy as np, optconform

def work():
    recording = optconform.record({"w": np.zeros(8)}, sys.argv[1])
    for step in range(1, 4):
        recording.step({"w": np.arange(8.0) + step})

worker = multiprocessing.get_context("fork").Process(target=work)
worker.start()
worker.join()
sys.exit(worker.exitcode)
"""
        path = tmp_path / "run.trace"
        result = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
        assert (result.returncode, result.stderr) == (0, "")
        assert written(path) == [1, 2, 3]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
    @pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forking beside threads, from Python 3.12 on
    @pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called:RuntimeWarning")  # JAX's, where a test imported it
    def test_a_child_process_records_and_closes_nothing(self, tmp_path):
        with begin(tmp_path / "run.trace") as recording:
            steps(recording, 2)
            child = os.fork()
            if not child:  # pragma: no cover - coverage does not see the child
                try:
                    steps(recording, 4, 10)
                    recording._recording.stop("of nothing")
                    recording.close()
                finally:
                    os._exit(0)
            os.waitpid(child, 0)
            steps(recording, 1, 3)
        assert written(recording.path) == [1, 2, 3]
        assert list(tmp_path.iterdir()) == [recording.path]


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({}, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
            ({"every": 4}, [1, 5, 9]),
            ({"steps": range(3, 6)}, [3, 4, 5]),
            ({"steps": range(2, 100, 3)}, [2, 5, 8]),
            ({"steps": range(7, 2**70)}, [7, 8, 9]),
            ({"steps": range(2, 9), "every": 3}, [2, 5, 8]),
            ({"steps": range(1, 9, 2), "every": 2}, [1, 5]),
        ],
    )
    def test_which_steps_are_recorded(self, options, expected, tmp_path):
        with begin(tmp_path / "run.trace", **options) as recording:
            for step in range(1, 10):
                recording.step({"w": GRADIENT + step}, after={"w": GRADIENT + step})
        assert written(recording.path) == expected
        trace = open_trace(recording.path)
        assert trace.initial_parameters()["w"].tolist() == (
            [0.0] * 8 if expected[0] == 1 else list(GRADIENT + expected[0] - 1)
        )

    def test_a_sample_is_the_same_in_every_run_and_another_for_every_tensor(self):
        def drawn(name="w", shape=(100, 100), **options):
            return RecordingOptions(**{"sample": 500, **options}).coordinates(name, shape)

        found = drawn()
        assert np.array_equal(found, drawn())
        assert len(set(found.tolist())) == 500
        assert (np.diff(found) > 0).all()
        assert found.min() >= 0
        assert found.max() < 10_000
        assert 4000 < found.mean() < 6000
        others = [drawn(seed=1), drawn(name="v"), drawn(seed=1, name="v")]
        assert all(not np.array_equal(a, b) for a, b in itertools.combinations([found, *others], 2))
        assert drawn(shape=(500,)) is None
        assert drawn(shape=()) is None

    def test_an_existing_trace_is_replaced_only_when_asked(self, tmp_path):
        with begin(tmp_path / "run.trace") as recording:
            steps(recording, 2)
        with pytest.raises(TraceError, match="something of this name"):
            begin(tmp_path / "run.trace")
        with begin(tmp_path / "run.trace", overwrite=True) as recording:
            assert written(recording.path) == [1, 2]  # until there is a step to replace it
            steps(recording, 3, 7)
        assert written(recording.path) == [7, 8, 9]
        assert list(tmp_path.iterdir()) == [recording.path]

"""Records known steps again and again and is killed each time; run as a script by test_recording_killed.py.

One process that has imported everything forks a child for each recording, so that 200 of them take seconds.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from optconform.adapters.recording import GroupValues, Joined, TrainingStep
from optconform.conformance.recording import recording
from optconform.conformance.recording.options import RecordingOptions

SHAPES = {"matrix": (20, 30), "vector": (7,), "late": (40,)}
LATE_STEP = 6
MOST_STEPS = 100_000

KINDS = {
    "plain": {},
    "sampled": {"sample": 9, "snapshots": True},
    "stretches": {"every": 3, "snapshots": True},
    "overwriting": {"overwrite": True},
}
"""Name of a kind of recording -> its options."""


def gradient(name, step):
    """The gradient of a parameter at a step of the run, known to whoever reads the trace."""
    size = int(np.prod(SHAPES[name]))
    return (np.arange(size, dtype=np.float32) * 0.25 + step).reshape(SHAPES[name])


def theta(name, step):
    """Theta of a parameter after a step."""
    return -gradient(name, step)


def names(step):
    """The parameters that take part in a step of the run."""
    return [name for name in SHAPES if name != "late" or step >= LATE_STEP]


def record(path, kind, until=MOST_STEPS, written=lambda: None):
    """Record steps 1 .. `until` of the known run; call `written` once when one of them is on the disk."""
    options = RecordingOptions(**KINDS[kind])

    def kept(name, array):
        coordinates = options.coordinates(name, SHAPES[name])
        return array if coordinates is None else array.reshape(-1)[coordinates]

    sink = recording.Recording(path, options, framework="numpy", optimizer="tests:Known")
    joined, told = set(), False
    for number in range(1, until + 1):
        if sink.n_steps and not told:
            told = True
            written()
        plan = sink.next_step()
        if plan is None:
            continue
        new = [name for name in names(number) if name not in joined]
        joined.update(new)
        before = {name: kept(name, theta(name, number - 1)) for name in names(number)}
        sink.put(
            TrainingStep(
                {name: kept(name, gradient(name, number)) for name in names(number)},
                lr=1.0 / number,
                groups=[GroupValues(tuple(names(number)), {"lr": 1.0 / number})],
                after={name: kept(name, theta(name, number)) for name in names(number)} if plan.after else None,
                joined=[Joined(name, SHAPES[name], "float32", before[name]) for name in new],
                start={"theta": before} if plan.start else None,
            )
        )
    sink.close()


def hurry(flushed):
    """Flush every step or two, and keep few on their way; `flushed` says whether the disk is waited for."""
    recording.LEAST_SECONDS, recording.SHARE_OF_RUN = 0.0002, 0.0
    recording.QUEUE_BYTES = 50_000
    if not flushed:  # a kill takes nothing from what was written; only a power failure does
        os.fsync = lambda descriptor: None


def die_at(operation):
    """Make the process kill itself before its `operation`-th step towards the disk; return nothing."""
    left = [operation]

    def dying(function):
        def call(*arguments, **options):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return call

    for owner, name in ((Path, "rename"), (Path, "replace"), (Path, "mkdir"), (Path, "open"), (os, "fsync")):
        setattr(owner, name, dying(getattr(owner, name)))


def forked(action):
    """Run `action` in a child of this process; return the child when it tells, by the function it is given."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            action(lambda: os.write(writing, b"."))
        finally:
            os._exit(0)
    os.close(writing)
    os.read(reading, 1)
    os.close(reading)
    return child


def main(folder, kills, operations, seed):
    """Kill `kills` recordings at random moments, and one at each of `operations` first steps towards the disk."""
    rng = np.random.default_rng(seed)
    kinds = list(KINDS)
    statuses = []
    for number in range(kills):
        kind = kinds[number % len(kinds)]
        path = folder / f"random-{number:03d}-{kind}.trace"
        early = number // len(kinds) % 4 == 0  # while the trace is made; the others when it has steps

        def endless(tell, path=path, kind=kind, early=early, flushed=number % 8 < 2):
            hurry(flushed)
            if kind == "overwriting":
                record(path, kind, until=2)
            if early:
                tell()
            record(path, kind, written=lambda: early or tell())

        child = forked(endless)
        time.sleep(rng.uniform(0.0, 0.01 if early else 0.04))
        os.kill(child, signal.SIGKILL)
        statuses.append(os.waitpid(child, 0)[1])
    for operation in range(operations):
        kind = kinds[operation % len(kinds)]
        path = folder / f"operation-{operation:03d}-{kind}.trace"

        def dying(tell, path=path, kind=kind, operation=operation):
            tell()
            hurry(flushed=False)
            die_at(operation)
            record(path, kind)

        statuses.append(os.waitpid(forked(dying), 0)[1])
    print(json.dumps([os.WTERMSIG(status) if os.WIFSIGNALED(status) else -1 for status in statuses]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))

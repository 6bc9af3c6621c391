"""The run that a recorded trace comes from: its optimizer, hyperparameters step by step, and what else was kept.

A gradient trace is an input, whatever became of it. These are what judging the *recorded* run takes besides:

    "run": {"framework": "torch", "optimizer": "torch.optim.adamw:AdamW",
            "groups": [{"parameters": ["w"],                       one parameter group, or the only one
                        "hyperparameters": {"lr": [[1, 0.001], [5, 0.0005]], "weight_decay": [[1, 0.01]]}}, ..],
            "sample": {"size": 4096, "seed": 0},                   tensors of more elements are a sample of this size
            "skipped": [7],                                        steps that the run skipped: a gradient overflowed
            "segments": [{"step": 1, "training_step": 1000, "file": "..", "bytes": .., "sha256": ".."}, ..],
            "after": [{"file": "..", "bytes": .., "sha256": "..", "first_step": 1, "last_step": 20}, ..]}

"sample" is there only where one was drawn; the other lists may be empty.

A hyperparameter is a list of [step, value]: the value held from that step on until the next. A parameter is in at most
one group.

A segment is a stretch of consecutive training steps; it begins at `step` of the trace, which was step `training_step`
of the run (counted from 1 since the recording began), and its file holds what the optimizer had before that step:
`theta/NAME`, and every slot of state as `SLOT/NAME` (`m`, `v`, `v_max`, `momentum` and the framework's own), in the
parameter's shape or a scalar, in a dtype of the trace or int64; `step/NAME` counts the updates of that parameter so
far. A run that is recorded from its own beginning to its end has one segment and needs no file for it; then there is
none.

Each shard under "after" holds one tensor [steps, size] for each parameter, theta after the step; those that had not
joined by its end are left out. The shards go from step 1 to the last or, where the run went on, to one before it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import TraceError, printable
from .fields import COPY_AGAIN, Fields, check_plain
from .shards import Shard, check_coverage, format_shard, parse_shard

MAX_SEED = 2**1024
"""A seed may be wider than any other integer of the format."""

Course = tuple[tuple[int, Any], ...]
"""The values of one hyperparameter: (step from which it holds, value), steps rising. Values are plain JSON."""


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters that share hyperparameters, and the course of each hyperparameter under its canonical name."""

    parameters: tuple[str, ...]
    hyperparameters: Mapping[str, Course]

    def at(self, step: int) -> dict[str, Any]:
        """The hyperparameters of one step; those without a value yet are left out."""
        found = {}
        for name, course in self.hyperparameters.items():
            for start, value in course:
                if start <= step:
                    found[name] = value
        return found


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of consecutive training steps that begins at `step` of the trace.

    `training_step` is that step's number in the run, counted from 1 since the recording began; `state` the file with
    theta and the optimizer's state before it.
    """

    step: int
    training_step: int
    state: Shard


@dataclass(frozen=True, slots=True)
class Sample:
    """How the coordinates of a sampled trace were drawn: at most `size` from each tensor, with this seed."""

    size: int
    seed: int


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """What is known of the run that a trace was recorded from."""

    framework: str
    optimizer: str
    """`module:qualified name` of its class, or of the function that made it."""
    groups: tuple[Group, ...] = ()
    sample: Sample | None = None
    skipped: frozenset[int] = frozenset()
    """Steps of the trace that the run skipped because a gradient overflowed; no parameter has a gradient in them."""
    segments: tuple[Segment, ...] = ()
    """None: the trace is one stretch from theta_0, with no state before it."""
    after: tuple[Shard, ...] = ()
    """Shards of theta after each step from the first on; empty where it was not kept."""

    @property
    def shards(self) -> tuple[Shard, ...]:
        """Every file that belongs to the run."""
        return (*(segment.state for segment in self.segments), *self.after)


def format_run(run: RecordedRun) -> dict[str, Any]:
    """`run` as the object under "run" in the index."""
    return {
        "framework": run.framework,
        "optimizer": run.optimizer,
        "groups": [
            {
                "parameters": list(group.parameters),
                "hyperparameters": {
                    name: [list(entry) for entry in course] for name, course in group.hyperparameters.items()
                },
            }
            for group in run.groups
        ],
        **({"sample": {"size": run.sample.size, "seed": run.sample.seed}} if run.sample else {}),
        "skipped": sorted(run.skipped),
        "segments": [
            {"step": segment.step, "training_step": segment.training_step, **format_shard(segment.state)}
            for segment in run.segments
        ],
        "after": [format_shard(shard) for shard in run.after],
    }


def parse_run(fields: Fields, known: frozenset[str], n_steps: int) -> RecordedRun:
    """The run under "run" of an index with the parameters `known` and `n_steps` steps. Raises `TraceError`."""
    sample = fields.object("sample") if "sample" in fields else None
    skipped = fields.integers("skipped")
    run = RecordedRun(
        framework=fields.text("framework"),
        optimizer=fields.text("optimizer"),
        groups=tuple(_group(each, known, n_steps) for each in fields.objects("groups")),
        sample=None if sample is None else Sample(sample.natural("size", 1), sample.natural("seed", below=MAX_SEED)),
        skipped=frozenset(skipped),
        segments=tuple(
            Segment(each.natural("step", 1), each.natural("training_step", 1), parse_shard(each))
            for each in fields.objects("segments")
        ),
        after=tuple(parse_shard(each, steps=True) for each in fields.objects("after")),
    )
    if run.after:
        check_coverage(run.after, min(run.after[-1].last_step, n_steps), fields.file)
    _check_rising((segment.step for segment in run.segments), n_steps, "segments", fields.file)
    _check_rising(skipped, n_steps, "skipped", fields.file)
    if run.segments and run.segments[0].step != 1:
        _refuse(fields.file, f"step {run.segments[0].step} as the first of 'segments'", "a segment from step 1 on")
    for segment, later in itertools.pairwise(run.segments):
        if later.training_step - segment.training_step < later.step - segment.step:
            _refuse(fields.file, f"training step {later.training_step} as the next of 'segments'", "a later one")
    owned = [name for group in run.groups for name in group.parameters]
    if len(set(owned)) != len(owned):
        _refuse(fields.file, "a parameter in two groups", "every parameter in one group")
    return run


def _group(fields: Fields, known: frozenset[str], n_steps: int) -> Group:
    fields.names("parameters", known)
    courses = fields.object("hyperparameters")
    return Group(
        tuple(fields.array("parameters")),
        {name: _course(courses, name, n_steps) for name in courses.values},
    )


def _course(fields: Fields, name: str, n_steps: int) -> Course:
    entries = fields.array(name)
    pairs = [entry for entry in entries if isinstance(entry, list) and len(entry) == 2 and type(entry[0]) is int]
    if len(pairs) != len(entries):
        _refuse(fields.file, f"an entry of '{printable(name)}' that is no pair", "pairs of a step and a value")
    _check_rising((step for step, _ in pairs), n_steps, name, fields.file)
    check_plain([value for _, value in pairs], name, fields.file)
    return tuple((step, value) for step, value in pairs)


def _check_rising(steps: Iterable[int], n_steps: int, where: str, file: object) -> None:
    before = 0
    for step in steps:
        if not before < step <= n_steps:
            _refuse(file, f"step {printable(step)} in '{printable(where)}'", f"rising steps of 1..{n_steps}")
        before = step


def _refuse(file: object, found: str, expected: str) -> None:
    raise TraceError(file, found, expected, COPY_AGAIN)

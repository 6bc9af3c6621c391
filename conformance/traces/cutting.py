"""Cutting a trace: some of its steps, some of its parameters, a sample of their coordinates.

The cut is a trace like any other, and says in its provenance what it was cut from. What was kept of a recorded run
stays where it still holds. Theta after each step and the optimizer's state are there to judge the recorded run, which
takes the state before the first step: a cut that begins where the recording kept none has neither.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ...adapters.recording import TrainingStep
from .appending import TraceAppender
from .cut_source import CutSource, Kept
from .directory import DirectoryTrace
from .drawn_coordinates import drawn_coordinates
from .errors import TraceError, printable
from .opening import open_trace
from .run import MAX_SEED, RecordedRun, Sample
from .trace import Array, Parameter, Trace, check_multipliers
from .writer import SHARD_BYTES, check_target, whole_or_nothing


@dataclass(frozen=True, slots=True)
class Cut:
    """What of a trace is kept: everything that nothing is said of. Raises `ValueError` for what cannot be."""

    steps: range | None = None
    """Steps kept, counted from 1; its own step says how many are left out."""
    parameters: tuple[str, ...] = ()
    """Names of the parameters kept, or shell patterns of them."""
    coordinates: int | None = None
    """Coordinates kept of each larger parameter, drawn as a recording with `sample` draws them."""
    seed: int = 0
    """Seed of the drawing."""

    @property
    def keeps_all(self) -> bool:
        """Whether nothing is left out: what is written is a copy."""
        return self == Cut(seed=self.seed)

    def __post_init__(self) -> None:
        """Check the sample."""
        if self.coordinates is not None and self.coordinates < 1:
            raise ValueError(f"coordinates={self.coordinates}, but should be at least 1")
        if not 0 <= self.seed < MAX_SEED:
            raise ValueError(f"seed={self.seed}, but should be at least 0 and less than 2**{MAX_SEED.bit_length() - 1}")


def cut_trace(
    trace: Trace, path: str | os.PathLike[str], cut: Cut, *, overwrite: bool = False
) -> tuple[DirectoryTrace, tuple[str, ...]]:
    """Write what `cut` keeps of `trace` to the directory `path`; return it opened, and what got lost, a sentence each.

    Steps are streamed; memory holds one shard. As with `write_trace` there is a whole trace in the end or nothing new.
    Raises `TraceError` for steps or parameters that the trace does not have and where `path` cannot be written to as
    asked, and OSError where the disk refuses.
    """
    target = Path(path).resolve()
    check_target(target, overwrite)
    check_multipliers(trace.multipliers, target)
    source = CutSource(trace, _steps(trace, cut.steps), _kept(trace, cut))
    with whole_or_nothing(target) as folder:
        _write(source, cut, folder, target)
    return open_trace(target, verify=False), source.lost()


def _steps(trace: Trace, asked: range | None) -> range:
    """The steps kept. A trace without steps is kept as it is where none is asked for."""
    if asked is None:
        return range(1, trace.n_steps + 1)
    if not (asked and asked.step > 0 and asked[0] >= 1 and asked[-1] <= trace.n_steps):
        raise TraceError(
            trace.name,
            f"steps {asked.start}:{asked.stop}{f':{asked.step}' if asked.step != 1 else ''} of {trace.n_steps}",
            f"A:B with 1 <= A < B <= {trace.n_steps + 1}",
            "Steps count from 1, and B is the first that is left out.",
        )
    return range(asked[0], asked[-1] + 1, asked.step)


def _kept(trace: Trace, cut: Cut) -> tuple[Kept, ...]:
    """The parameters kept, in the order of the trace. A name is itself before it is a pattern."""
    names = [parameter.name for parameter in trace.parameters]
    chosen: set[str] = set()
    for asked in cut.parameters:
        matching = {asked} if asked in names else {name for name in names if fnmatchcase(name, asked)}
        if not matching:
            close = difflib.get_close_matches(asked, names, n=1)
            raise TraceError(
                trace.name,
                f"no parameter '{printable(asked)}'",
                "the name of a parameter, or a pattern of some",
                f"Did you mean '{printable(close[0])}'?" if close else f"It has {_some(names)}.",
            )
        chosen |= matching
    return tuple(_sampled(trace, each, cut) for each in trace.parameters if not cut.parameters or each.name in chosen)


def _some(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(printable(name) for name in names[:most]) + more


def _sampled(trace: Trace, parameter: Parameter, cut: Cut) -> Kept:
    """What is kept of one parameter. Of a sample, a sample of its elements."""
    before = trace.coordinates(parameter.name) if isinstance(trace, DirectoryTrace) else None
    positions = None
    if cut.coordinates is not None:
        positions = drawn_coordinates(parameter.name, parameter.size, cut.coordinates, cut.seed)
    if positions is None:
        return Kept(parameter, None, before)
    return Kept(parameter, positions, positions if before is None else before[positions])


def _write(source: CutSource, cut: Cut, folder: Path, target: Path) -> None:
    """Write the files of the cut into `folder`. Messages speak of `target`, where they are going to lie."""
    trace = source.trace
    present = source.present()
    waiting = [each for each in source.kept if each not in present]
    appender = TraceAppender(
        folder,
        target,
        name=target.name.removesuffix(".trace"),
        provenance=trace.provenance if cut.keeps_all else _provenance(source, cut),
        run=_run(source, cut),
        **_joining(present, source.start),
    )
    segments = {segment.step: segment for segment in source.segments}
    skipped = source.run.skipped if source.run else frozenset()
    for index, gradients, groups in zip(source.steps, source.gradients(), source.groups(), strict=True):
        after = source.after(index)
        joining = [each for each in waiting if after is None or each.name in after]
        if joining:
            appender.join(**_joining(joining, source.start))
            waiting = [each for each in waiting if each not in joining]
        if index in segments:
            appender.begin_segment(segments[index].training_step, source.state(segments[index]))
        absent = {each.name for each in waiting}
        gradients = {name: gradient for name, gradient in gradients.items() if name not in absent}
        rate = trace.multipliers[index - 1]
        appender.append(TrainingStep(gradients, rate, groups, after, skipped=index in skipped))
        if appender.waiting_bytes >= SHARD_BYTES:
            appender.flush()
    if waiting:
        appender.join(**_joining(waiting, source.start))
    appender.close()


def _joining(kept: Sequence[Kept], start: Mapping[str, Array]) -> dict[str, Any]:
    """The parameters `kept` as a `TraceAppender` takes them."""
    return {
        "parameters": [each.parameter for each in kept],
        "initial": {each.name: start[each.name] for each in kept},
        "coordinates": {each.name: each.coordinates for each in kept if each.coordinates is not None},
    }


def _run(source: CutSource, cut: Cut) -> RecordedRun | None:
    """The recorded run of the cut as it begins. A sample of a sample was drawn twice, which no single seed says."""
    run = source.run
    if run is None:
        return None
    sample = run.sample
    if any(each.positions is not None for each in source.kept) and cut.coordinates is not None:
        again = any(each.source.sampled_from is not None for each in source.kept)
        sample = None if again else Sample(cut.coordinates, cut.seed)
    return RecordedRun(run.framework, run.optimizer, sample=sample)


def _provenance(source: CutSource, cut: Cut) -> dict[str, Any]:
    """The provenance of the whole, with `cut_from`: what was cut, and out of which trace."""
    whole = dict(source.trace.provenance)
    before = {"cut_from": whole.pop("cut_from")} if "cut_from" in whole else {}
    entry: dict[str, Any] = {"name": source.trace.name, "sha256": source.trace.sha256}
    steps = source.steps
    if steps != range(1, source.trace.n_steps + 1):
        entry["steps"] = [steps.start, steps.stop] + ([steps.step] if steps.step > 1 else [])
    entry["initial"] = source.start_is
    if cut.parameters:
        entry["parameters"] = list(cut.parameters)
    if cut.coordinates is not None:
        entry |= {"coordinates": cut.coordinates, "seed": cut.seed}
    return {**whole, "cut_from": {**entry, **before}}

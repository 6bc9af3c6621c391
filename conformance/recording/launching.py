"""Running a command so that the optimizers in it are recorded, and telling what became of it."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from ..outcomes import ExitStatus
from ..traces.errors import TraceError, printable
from ..traces.opening import open_trace
from ..traces.writer import check_target
from .meeting import STARTUP, VARIABLE, Event, Meeting
from .options import RecordingOptions

FORWARDED = ("SIGINT", "SIGQUIT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
"""Signals that are meant for the command, by name: no system has to have them all."""
_FROM_KEYBOARD = ("SIGINT", "SIGQUIT")


@dataclass(frozen=True, slots=True)
class Launched:
    """What a command that ran to its end left behind."""

    status: int
    """The command's own exit status where that is not 0 (128 + n for signal n, as shells have it), else 0 or 2."""
    messages: tuple[str, ...]
    """A line for each trace, and for whatever was not recorded."""


def launch(command: Sequence[str], output: Path, options: RecordingOptions) -> Launched:
    """Run `command` on this process's own standard streams, record what it trains to `output`, and wait for its end.

    Signals are passed on to it: it alone decides what they do. Raises `TraceError` where no trace can be written as
    `output` and OSError where the command cannot be started, both before anything runs.
    """
    check_target(output.absolute(), options.overwrite)
    with tempfile.TemporaryDirectory(prefix="optconform-", ignore_cleanup_errors=True) as folder:
        meeting = Meeting.begin(Path(folder), output, options)
        process = subprocess.Popen(command, env=environment(meeting, os.environ))
        with _signals_go_to(process):
            ended = process.wait()
        events = meeting.events()
    found = outcome(output, events)
    return Launched(found.status if ended == 0 else 128 - ended if ended < 0 else ended, found.messages)


def environment(meeting: Meeting, inherited: Mapping[str, str]) -> dict[str, str]:
    """`inherited`, changed so that every Python started with it takes part in `meeting`."""
    folders = (str(STARTUP), inherited.get("PYTHONPATH", ""))
    # An empty entry would stand for the current directory.
    return {**inherited, "PYTHONPATH": os.pathsep.join(filter(None, folders)), VARIABLE: str(meeting.folder)}


@contextmanager
def _signals_go_to(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Send `process` what this process is sent, except what the keyboard has sent to both."""

    def forward(number: int, frame: FrameType | None) -> None:
        if signal.Signals(number).name not in _FROM_KEYBOARD or not _in_foreground():
            process.send_signal(number)

    numbers = [getattr(signal, name) for name in FORWARDED if hasattr(signal, name)]
    before = {number: signal.signal(number, forward) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_foreground() -> bool:
    """Whether the keyboard's signals go to this process and those it starts."""
    if os.name == "nt":
        return True
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY)
    except OSError:  # there is none, as in a batch job: somebody sent the signal to this process alone
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    finally:
        os.close(terminal)


def python_options_in_the_way(command: Sequence[str]) -> str | None:
    """The option, if any, by which a command that is a Python itself keeps the recording out of its own process.

    >>> python_options_in_the_way(["python3", "-u", "-Im", "trainer"])
    '-Im'
    >>> python_options_in_the_way(["python3", "train.py", "-E"])
    """
    if not Path(command[0]).name.startswith("python"):
        return None
    arguments = iter(command[1:])
    for argument in arguments:
        if argument[:1] != "-" or argument[:2] == "--":
            return None
        for at, letter in enumerate(argument[1:], start=2):
            if letter in "IES":
                return argument
            if letter in "cm":  # what follows is the program's
                return None
            if letter in "WX":  # takes the rest or, where there is none, the next argument
                if at == len(argument):
                    next(arguments, None)
                break
    return None


def outcome(output: Path, events: Sequence[Event]) -> Launched:
    """What the processes whose `events` these are recorded as `output` and beside it, or why they recorded nothing."""
    told: dict[str, list[str]] = {}
    for kind, detail in dict.fromkeys(events):
        told.setdefault(kind, []).append(detail)
    traces = [_Trace.at(output.with_name(name)) for name in told.get("recording", ())]
    messages = [trace.message for trace in traces]
    messages += [f"not recorded: {printable(reason)}" for reason in told.get("refused", ())]
    messages += [f"note: {note}" for note in told.get("note", ())]
    if told.get("beyond"):
        messages.append(f"not recorded: more optimizers than {len(traces)}, among them {printable(told['beyond'][0])}")
    if any(trace.n_steps for trace in traces):
        return Launched(ExitStatus.AS_EXPECTED, tuple(messages))
    if told.get("rank") and not messages:
        ranks = ", ".join(sorted(told["rank"], key=int))
        return Launched(ExitStatus.AS_EXPECTED, (f"nothing recorded by rank {ranks}: rank 0 records alone",))
    if not messages:
        messages.append(f"nothing was recorded: {_why_nothing(told)}")
    return Launched(ExitStatus.USAGE, tuple(messages))


def _why_nothing(told: Mapping[str, list[str]]) -> str:
    """Why no process even tried."""
    if "started" not in told:
        return (
            "no Python was started that reads PYTHONPATH, through which the recording hooks in; leave out the options "
            "-I, -E and -S, and keep that variable where the command sets an environment of its own"
        )
    if "imported" not in told:
        pythons = ", ".join(map(printable, told["started"]))
        return f"neither PyTorch nor Keras was imported; the interpreters that ran are {pythons}"
    return (
        f"{', '.join(told['imported'])} was imported, but no optimizer of it made a step; one whose step is compiled "
        "can be recorded inside the script with optconform.record"
    )


@dataclass(frozen=True, slots=True)
class _Trace:
    """One trace as it lies there after the run."""

    n_steps: int
    message: str

    @classmethod
    def at(cls, path: Path) -> _Trace:
        shown = printable(path)
        try:
            trace = open_trace(path, verify=False) if path.exists() else None
        except TraceError as error:
            return cls(0, f"cannot be read: {error}")
        if trace is None or trace.run is None or not trace.n_steps:
            return cls(
                0,
                f"no step reached {shown}: its recording stopped, as a warning above says, or a signal or os._exit "
                "ended the process within the first second",
            )
        run, kept = trace.run, "every coordinate"
        if run.sample is not None and any(parameter.sampled_from is not None for parameter in trace.parameters):
            kept = f"at most {run.sample.size:,} coordinates of a tensor"
        size = sum(file.stat().st_size for file in path.iterdir())
        counts = f"{trace.n_steps} steps of {printable(run.optimizer)}, {len(trace.parameters)} parameters"
        return cls(trace.n_steps, f"recorded {shown}: {counts}, {kept}, {size:,} bytes")

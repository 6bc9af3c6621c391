"""The folder through which `optconform trace record` and the processes it brings about hear of each other."""

from __future__ import annotations

import ast
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from .options import RecordingOptions

STARTUP = Path(__file__).parent / "startup"
"""Holds the `sitecustomize` of the processes, and nothing else: it goes on their PYTHONPATH."""
VARIABLE = "OPTCONFORM_RECORDING"
"""Environment variable with the folder. The names here are those of `sitecustomize`, which can import nothing."""
EVENTS_FILE = "events"
_PLAN_FILE = "plan.json"

Event = tuple[str, str]
"""What happened, and with what: ("started", interpreter), ("imported", module), ("rank", number),
("refused", reason), ("recording", name of the trace), ("beyond", class of an optimizer too many), ("note", text)."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """One run of the command: where its traces go, what of them is kept, and the folder for all that belongs to it."""

    folder: Path
    output: Path
    options: RecordingOptions

    @classmethod
    def begin(cls, folder: Path, output: Path, options: RecordingOptions) -> Self:
        """Lay out the empty directory `folder`. `output` becomes absolute: processes change their directory."""
        steps = options.steps
        plan = {
            **asdict(options),
            "steps": None if steps is None else [steps.start, steps.stop, steps.step],
            "output": str(output.absolute()),
        }
        (folder / _PLAN_FILE).write_text(json.dumps(plan), encoding="ascii")
        (folder / EVENTS_FILE).touch()
        return cls(folder, output.absolute(), options)

    @classmethod
    def join(cls, folder: Path) -> Self:
        """The run of the command that laid out `folder`."""
        plan: dict[str, Any] = json.loads((folder / _PLAN_FILE).read_text(encoding="ascii"))
        output, steps = Path(plan.pop("output")), plan.pop("steps")
        return cls(folder, output, RecordingOptions(steps=None if steps is None else range(*steps), **plan))

    def events(self) -> list[Event]:
        """What the processes told so far, in order."""
        return [ast.literal_eval(line) for line in (self.folder / EVENTS_FILE).read_text(encoding="ascii").splitlines()]

    def claim(self, most: int) -> Path | None:
        """Where the next trace goes, for the caller alone: run.trace, run-2.trace, ...; None after `most` of them.

        A name that something has already is passed over, unless it is to be overwritten.
        """
        for number in range(1, most + 1):
            path = self.output if number == 1 else self.output.with_stem(f"{self.output.stem}-{number}")
            try:
                self._claimed(path).touch(exist_ok=False)
            except FileExistsError:
                continue
            if self.options.overwrite or not path.exists():
                return path
        return None

    def give_back(self, path: Path) -> None:
        """Leave a name that was claimed to the next."""
        self._claimed(path).unlink()

    def _claimed(self, path: Path) -> Path:
        return self.folder / f"claimed-{path.name}"

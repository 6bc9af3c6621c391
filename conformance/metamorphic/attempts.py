"""What becomes of a check, or of one variant of it, when the optimizer cannot be built or stepped that way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ...adapters.errors import BuildFailed, MissingDevice, NotReplayable, NotSupported, StepFailed, UnknownOption
from .setting import Outcome


def attempted(outcomes: Iterator[Outcome], variant: str | None = None) -> Iterator[Outcome]:
    """Yield `outcomes` under the name of `variant`, and how it ended where it was cut short.

    What the framework or the target has no way of is skipped, and so is what the constructor refuses: it says so
    aloud. What was built and then cannot be stepped has failed.
    """
    found = False
    try:
        for outcome in outcomes:
            found = True
            yield outcome if variant is None else replace(outcome, variant=variant)
    except (BuildFailed, MissingDevice, NotReplayable, NotSupported, UnknownOption) as reason:
        yield Outcome("skipped", str(reason), variant=variant)
    except StepFailed as error:
        yield Outcome("failed", f"what was built cannot be stepped: {error}", variant=variant)
    else:
        if not found:
            yield Outcome("skipped", "nothing to compare", variant=variant)

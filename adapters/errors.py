"""What can go wrong between a target's name and its first step. Every message says what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .text import describe_error


class TargetError(ValueError):
    """The target cannot be found or understood as written."""


class UnknownOption(TargetError):
    """The target's constructor has no such option."""


class MissingFramework(RuntimeError):
    """A framework is not installed, or is set up so that it cannot be used."""


class MissingDevice(RuntimeError):
    """The device asked for is not there."""


class MissingExtra(RuntimeError):
    """A package that a format of the results needs is not installed; the message says how to install it."""


class BuildFailed(RuntimeError):
    """The target was found, but its constructor raised."""


class StepFailed(RuntimeError):
    """The optimizer raised while stepping."""


class NotSupported(RuntimeError):
    """The framework, or this target, has no such way of being used; the message says which and why."""


class PathNotTaken(UnknownOption, NotSupported):
    """The framework has this way of executing a step, but the target, or the device, does not take it."""


class NotReplayable(StepFailed):
    """The step needs a closure, a loss or a model: recorded gradients alone cannot drive it."""


@contextmanager
def foreign_code(error_type: type[RuntimeError], doing: str, hint: str | Callable[[], str] = "") -> Iterator[None]:
    """Report whatever the target's own code raises as `error_type`, with the original text.

    `doing` opens the message ("torch.optim:AdamW: the constructor"), `hint` closes it. `SystemExit`
    counts as an error of the target; `KeyboardInterrupt` is the user's and passes through.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        ending = hint if isinstance(hint, str) else hint()
        raise error_type(f"{doing} raised {describe_error(error)}{ending}") from error

"""Saved mid-run and loaded into a new instance, an optimizer must go on as if it had never stopped (OC405).

What it runs: the first half of the path, saved in the framework's own form and loaded into an instance built alike
over the parameters as they stand, which walks the second half. Decay is on, and the learning rate is set in every
step, as a training loop would.

Both runs compute the same from the same numbers, so equal bits are what is expected. A difference in float64 that
float32 rounding explains is a warning: something was kept, or loaded, in another precision. torch.optim.NAdam does so
(2.13): it makes `mu_product` in float32, and `load_state_dict` casts it to the parameters' dtype.

When it applies: wherever the framework saves the state of an optimizer. Cost: a walk besides the plain one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...adapters.errors import StepFailed
from ..result import Severity
from ..subject import Arrays, read
from .needs import REPRODUCIBLE, needs
from .setting import Outcome, Setting


@needs(REPRODUCIBLE)
def restore_check(setting: Setting) -> Iterator[Outcome]:
    """Yield whether the restored run walks the uninterrupted one, up to rounding."""
    middle = len(setting.steps) // 2
    how = f"saved after step {middle} and loaded into a new instance,"
    first = setting.build()
    path = setting.walk(first, setting.steps[:middle])
    saved = first.save()
    second = setting.subject.build(read(first), setting.values)
    try:
        second.load(saved)
        path += setting.walk(second, setting.steps[middle:])
    except StepFailed as error:
        yield Outcome("failed", f"{how} it fails: {error}")
        return
    distance = setting.farthest(setting.plain, path)
    if distance.ratio == 0.0:
        yield Outcome("passed", f"{how} it walks the same path, bit by bit")
    elif distance.ratio <= 1.0:
        yield Outcome(
            "skipped", f"{how} it is no farther from the uninterrupted run than rounding explains: {distance}"
        )
    else:
        cast = _explained_by_narrower(setting, path)
        why = f"what a step reads is kept or loaded as {cast}" if cast else "something that a step reads is not saved"
        yield Outcome(
            "failed",
            f"{how} it leaves the uninterrupted run: {distance}; {why}",
            parameter=distance.parameter,
            severity=Severity.WARNING if cast else None,
            evidence={"saved_after": middle, **distance.evidence()},
        )


def _explained_by_narrower(setting: Setting, path: Sequence[Arrays]) -> str | None:
    """Return the narrower format whose rounding explains how far `path` is from the plain one, None for none.

    Formats of 16 bits explain too much: their rounding is as large as what a lost buffer does.
    """
    narrower = "float32"
    if setting.subject.dtype != "float64":
        return None
    distance = setting.farthest(setting.plain, path, dict.fromkeys(setting.theta, narrower))
    return narrower if distance.ratio <= 1.0 else None

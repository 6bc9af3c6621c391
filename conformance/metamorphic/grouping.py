"""How parameters are divided among lists, groups and dtypes must not change what happens to them (OC402).

What it runs: the path of parameters handed over in reversed order (`reversed`); in a parameter group each or, where
the framework has none, an optimizer each (`split`); and with every second one in another precision, compared with the
same parameters among their own kind alone (`dtypes`). Decay that is applied once for each group or dtype instead of
once a step fires OC108 besides.

When it applies: always. A rule that couples its parameters through a global statistic is told apart (see `coupling`),
and `split` and `dtypes` say nothing of it; the order must not matter to it either. Cost: six walks, and up to twelve
more where something differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ...adapters.errors import StepFailed
from ...adapters.protocol import PLAIN, Layout
from ..pairing import rounding_of
from .attempts import attempted
from .coupling import coupling
from .explanations import rounding_explains
from .needs import REPRODUCIBLE, needs
from .setting import Distance, Outcome, Setting

_MOST_REPEATS = 8
"""Times a decay may be found applied in one step: partitions by device and dtype are few."""


@needs(REPRODUCIBLE)
def grouping_check(setting: Setting) -> Iterator[Outcome]:
    """Yield for each of the three ways whether the parameters move as they do together."""
    yield from attempted(_compared(setting, "in reversed order", reverse=True), "reversed")
    split = Layout(groups=tuple((name,) for name in setting.theta))
    yield from attempted(_compared(setting, "in a group each", split), "split")
    yield from attempted(_mixed_dtypes(setting), "dtypes")


def _compared(setting: Setting, how: str, layout: Layout = PLAIN, *, reverse: bool = False) -> Iterator[Outcome]:
    """Compare the parameters handed over as `layout` says, or in reversed order, with one list of them."""
    theta = dict(reversed(list(setting.theta.items()))) if reverse else setting.theta
    other = setting.subject.build(theta, setting.values, layout)
    path = setting.walk(other)
    distance = setting.farthest(setting.plain, path)
    if distance.ratio <= 1.0:
        yield Outcome("passed", f"{len(theta)} parameters {how} move as they do together")
        return
    rounding = rounding_explains(setting, setting.plain, path, distance)
    yield _differs(setting, f"{how} and in one list", distance, rounding, symmetric=reverse)
    if not reverse:
        yield from _repeated({how: _decays(setting, layout), "in one list": _decays(setting)})


def _mixed_dtypes(setting: Setting) -> Iterator[Outcome]:
    """Compare parameters held in two precisions with those of each precision alone, in one list each."""
    other = "float64" if setting.subject.dtype == "float32" else "float32"
    second = list(setting.theta)[1::2]
    dtypes = dict.fromkeys(second, other)
    halves = (setting.only(*(name for name in setting.theta if name not in dtypes)), setting.only(*second))
    mixed = Layout(dtypes=dtypes)
    together = setting.build(mixed)
    try:
        path = setting.walk(together)
    except StepFailed as error:
        yield Outcome("skipped", f"{setting.subject.dtype} and {other} parameters together are refused aloud: {error}")
        return
    layouts = (PLAIN, mixed)
    apart = [half.walk(half.build(layout)) for half, layout in zip(halves, layouts, strict=True)]
    alone = [{**here, **there} for here, there in zip(*apart, strict=True)]
    distance = setting.farthest(path, alone, dtypes)
    if distance.ratio <= 1.0:
        how = f"{setting.subject.dtype} and {other} parameters"
        yield Outcome("passed", f"{how} in one list move as those of each dtype alone")
        return
    rounding = rounding_explains(setting, path, alone, distance)
    yield _differs(setting, f"held beside parameters of another dtype ({other}) and alone", distance, rounding)
    once = {name: c for half, layout in zip(halves, layouts, strict=True) for name, c in _decays(half, layout).items()}
    yield from _repeated({f"beside {other} parameters": _decays(setting, mixed), "alone": once})


def _differs(setting: Setting, how: str, distance: Distance, rounding: str, *, symmetric: bool = False) -> Outcome:
    """Return what a difference beyond rounding means: a fault, a rule that couples parameters, or nothing told.

    `rounding` says how it may be rounding after all.
    """
    coupled = None if symmetric else coupling(setting)
    if coupled is not None:
        return Outcome(
            "skipped",
            f"couples parameters by design: the step of {coupled[0]!r} depends on the gradients of {coupled[1]!r}, "
            "so that no part of the parameters moves as in company",
        )
    if rounding:
        return Outcome("skipped", f"cannot be told: {rounding}")
    return Outcome(
        "failed", f"parameters {how} are {distance}", parameter=distance.parameter, evidence=distance.evidence()
    )


def _decays(setting: Setting, layout: Layout = PLAIN) -> dict[str, tuple[float, str]]:
    """Return c of the first step, where what decay adds to it is -c*theta, with the dtype, by parameter name."""
    if not setting.subject.has_weight_decay:
        return {}
    ends = []
    for changed in ({}, {"weight_decay": 0.0}):
        optimizer = setting.build(layout, **changed)
        ends.append(setting.walk(optimizer, setting.steps[:1])[0])
    found = {}
    for name, theta in setting.theta.items():
        dtype = layout.dtypes.get(name, setting.subject.dtype)
        moved = ends[0][name] - ends[1][name]
        c = -float(np.sum(moved * theta) / np.sum(theta * theta))
        scale = np.abs(theta) + np.abs(ends[0][name]) + np.abs(ends[1][name])
        if np.all(np.abs(moved + c * theta) <= rounding_of(dtype) * scale):
            found[name] = (c, dtype)
    return found


def _repeated(decays: Mapping[str, Mapping[str, tuple[float, str]]]) -> Iterator[Outcome]:
    """Yield the finding that one way of handing the parameters over decays n times where the other decays once."""
    (one, by_one), (other, by_other) = decays.items()
    for often, once, where in ((by_one, by_other, one), (by_other, by_one, other)):
        for name in often.keys() & once.keys():
            (c, dtype), (x, _) = often[name], once[name]
            for times in range(2, _MOST_REPEATS + 1):
                if abs(c - (1.0 - (1.0 - x) ** times)) <= 4.0 * rounding_of(dtype) < abs(c - x):
                    yield Outcome(
                        "failed",
                        f"{name!r} {where} decays {times} times in one step: c = {c:.6g}, elsewhere {x:.6g}",
                        code="OC108",
                        parameter=name,
                        evidence={"times": times, "coefficient": c, "elsewhere": x},
                    )
                    return

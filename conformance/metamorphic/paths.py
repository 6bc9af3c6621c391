"""Every way in which a framework executes a step must do the same (OC408); and what `--paths NAME` means.

What it runs: the path of parameters on every other execution path that the target takes, compared with that of the
audit. Two may round differently, so they may be apart by what rounding explains. Beyond that, or in 16 bits, where
rounding explains a good deal, both must stay inside the bound of one rule of the reference, if the audit's path
follows one. Where float64 paths are apart by no more than scalars held in float32, it is OC305.

When it applies: to targets with more than one execution path. Those that compile are left out unless asked for. Cost:
a walk for each, and two matches with the reference where rounding alone does not explain the difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ...adapters.errors import UnknownOption
from ...adapters.protocol import Adapter
from ...adapters.signatures import annotation_of
from ...reference.formats import FORMATS
from ..checks import left_at
from ..matching import Matching, match_trajectory
from ..traces import MemoryTrace, Parameter
from .attempts import attempted
from .explanations import float32_scalars_explain, rounding_explains
from .setting import NOT_REPRODUCIBLE, Distance, Outcome, Setting

EVERY_PATH = "all"

COMPARED_ONLY: Mapping[str, frozenset[str]] = {"torch": frozenset({"compiled"})}
"""Framework -> paths on which no audit is run, since every optimizer built is compiled anew: one torch.compile takes
17 s, and an audit builds dozens. Keras's and Optax's compile in about a second."""


ANNOTATED: Mapping[str, tuple[str, str]] = {"tensor-lr": ("lr", "Tensor")}
"""Path -> (option, word): compared only where the option's annotation has the word. torch.optim annotates
`lr: float | Tensor`; elsewhere a tensor is taken by accident, and whatever kept it changes with it in every step."""


def run_path(adapter: Adapter, named: str | None, *, compared: bool) -> str | None:
    """Return the path on which an audit runs when the user has named `named`; None for the default.

    `all`, and the paths of `COMPARED_ONLY`, are for OC408 to hold against the default, on which the audit then runs.
    Raises `UnknownOption` for them where nothing is `compared`.
    """
    if named != EVERY_PATH and named not in COMPARED_ONLY.get(adapter.framework, ()):
        return named
    if not compared:
        raise UnknownOption(
            f"--paths {named} compares execution paths, which `optconform audit` does; "
            f"name one to run on: {', '.join(path for path in adapter.paths if path != named)}."
        )
    return None


def compiled_asked(adapter: Adapter, named: str | None) -> bool:
    """Whether paths that compile are to be compared with the others: only if one, or all, were asked for."""
    return named == EVERY_PATH or named in adapter.compiled_paths


def paths_check(setting: Setting) -> Iterator[Outcome]:
    """Yield for each execution path whether it agrees with that of the audit."""
    subject = setting.subject
    own = subject.path or subject.adapter.paths[0]
    left_out = () if setting.compiled else subject.adapter.compiled_paths
    others = [path for path in subject.adapter.paths if path != own and path not in left_out]
    if not others:
        yield Outcome("skipped", f"{subject.adapter.framework} has no other path than {own!r}")
        return
    if not setting.reproducible:
        yield NOT_REPRODUCIBLE
        return
    for path in others:
        option, word = ANNOTATED.get(path, ("", ""))
        if word not in annotation_of(subject.target, option):
            yield Outcome("skipped", f"no {word} is promised by the annotation of {option}", variant=path)
            continue
        yield from attempted(_compared(setting, own, path), path)


def _compared(setting: Setting, own: str, path: str) -> Iterator[Outcome]:
    other = replace(setting, subject=replace(setting.subject, path=path))
    distance = setting.farthest(setting.plain, other.plain)
    dtype = setting.subject.dtype
    narrow = FORMATS[dtype].precision < FORMATS["float32"].precision
    if distance.ratio == 0.0 or (distance.ratio <= 1.0 and not narrow):
        yield Outcome("passed", f"as {own!r}: {distance.ratio:.2g} of what rounding explains")
        return
    mine = _match(setting)
    if mine.accepted:
        yield _by_rule(setting, other, distance, mine)
    elif float32_scalars_explain(setting, setting.plain, other.plain):
        yield _rounded(own, path, distance)
    elif distance.ratio <= 1.0:
        yield Outcome("passed", f"as {own!r}: {distance.ratio:.2g} of what rounding explains")
    elif rounding := rounding_explains(setting, setting.plain, other.plain, distance):
        yield Outcome("skipped", f"cannot be told: {rounding}")
    else:
        yield _differs(own, path, distance)


def _by_rule(setting: Setting, other: Setting, distance: Distance, mine: Matching) -> Outcome:
    """Return the outcome where the audit's path stays inside the bound of a rule: does the other do so too?"""
    own, path = (each.subject.path or each.subject.adapter.paths[0] for each in (setting, other))
    theirs = _match(other)
    axes = [hypothesis.axes() for hypothesis in mine.accepted]
    shared = [hypothesis for hypothesis in theirs.accepted if hypothesis.axes() in axes]
    if shared:
        ratio = max(mine.match.bound_ratio or 0.0, theirs.match.bound_ratio or 0.0)
        return Outcome("passed", f"as {own!r}: both inside the bound of {shared[0].rule.name} ({ratio:.2g})")
    if not theirs.accepted and float32_scalars_explain(setting, setting.plain, other.plain):
        return _rounded(own, path, distance)
    found = f"that of {theirs.match.rule}" if theirs.match.rule else f"of no rule{left_at(theirs)}"
    return _differs(own, path, distance, f"; {own!r} follows {mine.match.rule}, but {path!r} a trajectory {found}")


def _differs(own: str, path: str, distance: Distance, more: str = "", code: str | None = None) -> Outcome:
    return Outcome(
        "failed",
        f"the paths {path!r} and {own!r} are {distance}{more}",
        code=code,
        parameter=distance.parameter,
        evidence={**distance.evidence(), "path": path, "compared_with": own},
    )


def _rounded(own: str, path: str, distance: Distance) -> Outcome:
    return _differs(own, path, distance, ": no more than scalars rounded to float32 explain", "OC305")


def _match(setting: Setting) -> Matching:
    """Return the match of the setting's walk with the rules of the reference, at the setting's hyperparameters."""
    trace = MemoryTrace(
        name="metamorphic",
        parameters=tuple(Parameter(name, value.shape, "float64") for name, value in setting.theta.items()),
        multipliers=tuple(step.multiplier for step in setting.steps),
        initial=setting.theta,
        gradients=tuple(step.gradients for step in setting.steps),
    )
    return match_trajectory(setting.subject, [trace], setting.values)

"""What an audit leaves open, in sentences: hypotheses that fit its evidence as well as the one it names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from .identify import KindOfDecay
from .law import Law
from .result import Verdict

_MOST = 3
"""Parameters named in a sentence; `Result.parameters` holds all."""


def what_stays_open(kinds: Mapping[tuple[str, str], KindOfDecay], law: Law | None) -> tuple[str, ...]:
    """Return one sentence for each thing that these runs cannot tell, without repetition.

    `kinds` are by (trace, parameter), `law` is that of the decoupled decay. What the trajectory leaves open stands in
    `Match.cannot_tell`.
    """
    return tuple(dict.fromkeys([*_of_kinds(kinds), *_of_law(law)]))


def _of_kinds(kinds: Mapping[tuple[str, str], KindOfDecay]) -> Iterator[str]:
    by_verdict = {
        verdict: [name for (_, name), kind in kinds.items() if kind.verdict is verdict] for verdict in Verdict
    }
    if by_verdict[Verdict.EQUIVALENT]:
        yield (
            f"decoupled decay or L2, for {_shown(by_verdict[Verdict.EQUIVALENT])}: the step is linear in the gradient "
            "and keeps nothing of it, and the two are the same algebra"
        )
    open_kinds = {name: kind.reason for (_, name), kind in kinds.items() if kind.verdict is Verdict.INCONCLUSIVE}
    for reason in dict.fromkeys(open_kinds.values()):
        yield f"the kind of decay of {_shown(name for name, why in open_kinds.items() if why == reason)}: {reason}"
    unmoved = [name for (_, name), kind in kinds.items() if kind.unmoved_by_l2]
    if unmoved and (by_verdict[Verdict.L2] or by_verdict[Verdict.PRECONDITIONED]):
        yield f"whether {_shown(unmoved)} decays: neither decay nor lambda*theta in the gradient moves it"


def _of_law(law: Law | None) -> Iterator[str]:
    if law is None:
        return
    if law.decay.applied_to == "either":
        yield (
            "whether decay acts on the previous or the updated parameters: the step without decay is itself in "
            "proportion to theta, or zero"
        )
    if law.decay.law is None:
        yield f"the law of the decay: {law.missing}" if law.missing else "the law of the decay"
    if len(law.fitting) > 1:
        yield f"the form of the decay: {', '.join(form.description for form in law.fitting)} all fit"


def _shown(names: Iterable[str]) -> str:
    """Return the first few names, each once, and how many more there are."""
    each = list(dict.fromkeys(names))
    more = f" and {len(each) - _MOST} more" if len(each) > _MOST else ""
    return ", ".join(map(repr, each[:_MOST])) + more

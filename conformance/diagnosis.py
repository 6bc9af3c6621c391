"""Where no hypothesis fits: would one changed constant explain it?

Two tables of what implementations get wrong in one place. A *rounded* hyperparameter is a convention of some
frameworks, and a hypothesis that assumes it may be accepted (OC305 reports it); a *changed* constant is a
mistake that the finding names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..adapters.protocol import Cast
from ..reference.formats import FORMATS
from ..reference.options import AdamOptions, DecayLaw, InvalidOption
from ..reference.rules import Options
from .casts import BIAS_CORRECTION, EVERYWHERE
from .hypotheses import Hypothesis, with_casts

_NARROWER = ("float32", "float16", "bfloat16")
_ROUNDED: Sequence[tuple[str, str]] = (
    ("lr", EVERYWHERE),
    ("weight_decay", EVERYWHERE),
    ("beta1", EVERYWHERE),
    ("beta2", EVERYWHERE),
    ("beta1", BIAS_CORRECTION),
    ("beta2", BIAS_CORRECTION),
    ("eps", EVERYWHERE),
    ("momentum", EVERYWHERE),
    ("dampening", EVERYWHERE),
)
"""(hyperparameter, where it is rounded): each alone, then all of them together."""


def rounded_constants(nearest: Sequence[Hypothesis], held: Mapping[str, Any], dtype: str) -> list[Hypothesis]:
    """Return `nearest` with one hyperparameter rounded to a format narrower than `dtype`, then with all of them."""
    variants = []
    for narrow in _NARROWER:
        if FORMATS[narrow].precision >= FORMATS[dtype].precision:
            continue
        everything = tuple(Cast(name, narrow) for name, use in _ROUNDED if use == EVERYWHERE and name in held)
        alone = [(Cast(name, narrow, use),) for name, use in _ROUNDED]
        for casts in (*alone, everything):
            variants += [changed for each in nearest if (changed := with_casts(each, held, casts)) is not None]
    return variants


def changed_constants(hypothesis: Hypothesis) -> Iterator[tuple[str, Hypothesis]]:
    """Yield (what is changed, hypothesis) for every row of `CHANGES` that applies to `hypothesis`."""
    for name, change in CHANGES.items():
        try:
            options = replace(hypothesis.options, **change(hypothesis.options))
        except InvalidOption:
            continue
        if options != hypothesis.options:
            yield name, replace(hypothesis, options=options)


NO_DECAY = "no weight decay"
OTHER_DECAYS = ("half the weight decay", "twice the weight decay")
"""Rows of `CHANGES`."""


def other_decays(hypothesis: Hypothesis, names: Sequence[str] = OTHER_DECAYS) -> list[Hypothesis]:
    """Return `hypothesis` with half and with twice the decay: in 16 bits a rule's bound may hold these as well."""
    changed = changed_constants(hypothesis)
    return [replace(each, constant=name) for name, each in changed if name in names]


def _rate_outside_the_decay(options: Options, factor: float) -> dict[str, Any]:
    """Return another learning rate, and a decay that makes up for it where the law has the rate in it."""
    if getattr(options, "law", None) is not DecayLaw.LR_WD:
        return {}
    return {"lr": factor * options.lr, "weight_decay": options.weight_decay / factor}


CHANGES: Mapping[str, Callable[[Options], dict[str, Any]]] = {
    "no epsilon": lambda options: {"eps": 0.0} if isinstance(options, AdamOptions) else {},
    "epsilon squared": lambda options: {"eps": options.eps**2} if isinstance(options, AdamOptions) else {},
    "the root of epsilon": lambda options: {"eps": options.eps**0.5} if isinstance(options, AdamOptions) else {},
    "epsilon 1e-8": lambda options: {"eps": 1e-8} if isinstance(options, AdamOptions) else {},
    "no bias correction of the first moment": lambda options: (
        {"correction_beta1": 0.0} if isinstance(options, AdamOptions) else {}
    ),
    "no bias correction of the second moment": lambda options: (
        {"correction_beta2": 0.0} if isinstance(options, AdamOptions) else {}
    ),
    "beta1 and beta2 exchanged": lambda options: (
        {"beta1": options.beta2, "beta2": options.beta1} if isinstance(options, AdamOptions) else {}
    ),
    NO_DECAY: lambda options: {"weight_decay": 0.0},
    "twice the weight decay": lambda options: {"weight_decay": 2.0 * options.weight_decay},
    "half the weight decay": lambda options: {"weight_decay": 0.5 * options.weight_decay},
    "twice the learning rate": lambda options: {"lr": 2.0 * options.lr},
    "half the learning rate": lambda options: {"lr": 0.5 * options.lr},
    "twice the learning rate outside the decay": lambda options: _rate_outside_the_decay(options, 2.0),
    "half the learning rate outside the decay": lambda options: _rate_outside_the_decay(options, 0.5),
    "no momentum": lambda options: {} if isinstance(options, AdamOptions) else {"momentum": 0.0},
}
"""What is changed -> the options that differ; no options where the change does not apply."""

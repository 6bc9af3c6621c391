"""Sound optimizers on which no error may fire: rewritten, unusual, or unknown to the reference. Data only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .families import FAMILIES

_HERE = "optconform.conformance.faults"
_DECOUPLED = "decoupled,law=lr*wd,order=previous"
_ADAMW = f"{_DECOUPLED},epsilon=outside"
_ADAMW_HAT = f"{_DECOUPLED},epsilon=hat"


@dataclass(frozen=True, slots=True)
class Sound:
    """An optimizer that does what is expected of it."""

    name: str
    framework: str
    target: str
    expectation: str
    options: Mapping[str, Any] = field(default_factory=dict)
    path: str | None = None
    dtype: str = "float64"
    metamorphic: bool = True
    """Whether the metamorphic checks are run too."""


def _without_fault() -> Iterator[Sound]:
    for family in FAMILIES:
        for framework, target in family.targets.items():
            yield Sound(f"{framework}-{family.name}", framework, target, family.expectation)


_DEPARTED = (
    ("rmsprop", "cautious", "decoupled,law=lr*wd"),
    ("adamw", "after_update", "decoupled,law=lr*wd,order=updated,epsilon=outside"),
    ("lion", "proximal", "decoupled,law=lr*wd,order=updated"),
    ("sgdw", "coupled", "l2"),
    ("trust", "schedule_law", "decoupled,law=schedule*wd,order=previous"),
)
"""(family, departure, what is expected of it): a departure is no fault where it is what is meant."""


def _departed() -> Iterator[Sound]:
    targets = {family.name: family.targets for family in FAMILIES}
    for family, departure, expectation in _DEPARTED:
        for framework in ("numpy", "torch"):
            name = f"{framework}-{family}-{departure}-as_expected"
            yield Sound(name, framework, targets[family][framework], expectation, {"fault": departure})


_REWRITTEN = {
    "numpy": {
        "numpy_sound:AdamWInPlace": _ADAMW,
        "numpy_sound:AdamWInterpolated": _ADAMW,
        "numpy_sound:AdamWFolded": _ADAMW,
        "numpy_sound:AdamWScaledEpsilon": _ADAMW,
        "numpy_sound:AdamWHat": _ADAMW_HAT,
        "numpy_sound:AdamWRunningPowers": _ADAMW,
        "numpy_sound:AdamWPaper": "decoupled,law=schedule*wd,order=previous,epsilon=outside",
        "numpy_sound:AdaBelief": _DECOUPLED,
        "numpy_sound:Lion": _DECOUPLED,
        "numpy_sound:RMSpropL2": "l2",
        "numpy_sound:AdagradDecoupled": _DECOUPLED,
        "numpy_sound:TrustRatioPostponed": "decoupled,law=lr*wd",
        "numpy_sound:SGDWVelocity": f"{_DECOUPLED},momentum=lr_inside",
    },
    "torch": {
        "torch_sound:AdamWInPlace": _ADAMW,
        "torch_sound:AdamWOutOfPlace": _ADAMW,
        "torch_sound:AdamWForeach": _ADAMW,
        "torch_sound:Lion": _DECOUPLED,
        "torch_sound:NormalisedSGDW": _DECOUPLED,
    },
    "tensorflow": {
        "keras_sound:AdamW": _ADAMW,
        "keras_sound:Lion": _DECOUPLED,
    },
    "jax": {
        "optax_sound:adamw_decayed_last": _ADAMW,
        "optax_sound:rmsprop_decoupled": _DECOUPLED,
        "optax_sound:rmsprop_l2": "l2",
        "optax_sound:clipped_sgdw": _DECOUPLED,
    },
}
"""Framework -> `module:attribute` in this package -> what is expected of it."""

_LIBRARIES: Mapping[str, tuple[tuple[str, str, Mapping[str, Any]], ...]] = {
    "numpy": ((f"{_HERE}.numpy_sound:SGDWVelocity", f"{_DECOUPLED},momentum=lr_inside", {"nesterov": True}),),
    "torch": (
        ("torch.optim:AdamW", _ADAMW, {"amsgrad": True}),
        ("torch.optim:AdamW", _ADAMW, {"betas": (0.5, 0.6), "eps": 1e-3}),
        ("torch.optim:AdamW", _ADAMW, {"betas": (0.0, 0.9)}),
        ("torch.optim:AdamW", _ADAMW, {"weight_decay": 0.0}),
        ("torch.optim:AdamW", _ADAMW, {"foreach": True, "lr": 1.0, "weight_decay": 0.9}),
        ("torch.optim:AdamW", _ADAMW, {"fused": True, "amsgrad": True}),
        ("torch.optim:Adam", "l2,epsilon=outside", {"amsgrad": True}),
        ("torch.optim:NAdam", "l2", {}),
        ("torch.optim:NAdam", _DECOUPLED, {"decoupled_weight_decay": True}),
        ("torch.optim:RAdam", "l2", {}),
        ("torch.optim:RAdam", _DECOUPLED, {"decoupled_weight_decay": True}),
        ("torch.optim:RMSprop", "l2", {"momentum": 0.9, "centered": True}),
        ("torch.optim:Adagrad", "l2", {"lr_decay": 0.1}),
        ("torch.optim:Adadelta", "l2", {}),
        ("torch.optim:Adamax", "l2", {}),
        ("torch.optim:ASGD", "l2", {}),
        ("torch.optim:Rprop", "none", {}),
        ("torch.optim:SGD", "l2,momentum=lr_outside", {"momentum": 0.9, "nesterov": True}),
        ("torch.optim:SGD", "l2,momentum=lr_outside", {"momentum": 0.9, "dampening": 0.5}),
        ("torch.optim:SGD", "equivalent", {}),
    ),
    "tensorflow": (
        ("keras.optimizers:AdamW", _ADAMW_HAT, {"amsgrad": True}),
        ("keras.optimizers:Adamax", _DECOUPLED, {}),
        ("keras.optimizers:Nadam", _DECOUPLED, {}),
        ("keras.optimizers:RMSprop", _DECOUPLED, {"momentum": 0.9, "centered": True}),
        ("keras.optimizers:Adagrad", _DECOUPLED, {}),
        ("keras.optimizers:Adadelta", _DECOUPLED, {}),
        ("keras.optimizers:Lion", _DECOUPLED, {}),
        ("keras.optimizers:SGD", f"{_DECOUPLED},momentum=lr_inside", {"momentum": 0.9, "nesterov": True}),
    ),
    "jax": (
        ("optax:adamw", _DECOUPLED, {"nesterov": True}),
        ("optax:adamw", _ADAMW, {"eps": 1e-3, "b1": 0.5}),
        ("optax:lion", _DECOUPLED, {}),
        ("optax:adamaxw", _DECOUPLED, {}),
        ("optax:adam", "none", {}),
    ),
}
"""Framework -> (target, what is expected of it, options): library optimizers in unusual settings."""

_OF_ONE_BASE_CLASS = frozenset(
    f"keras.optimizers:{name}" for name in ("Adamax", "Nadam", "RMSprop", "Adagrad", "Adadelta", "Lion")
)
"""Targets without metamorphic checks, which cost 4 s each in Keras, the decay 1 s: what those checks look at is
Keras's base class, which is that of AdamW and SGD too."""

_EXECUTED = (
    ("torch", "torch.optim:AdamW", _ADAMW, "loop", "float64"),
    ("torch", "torch.optim:AdamW", _ADAMW, "foreach", "float32"),
    ("torch", "torch.optim:AdamW", _ADAMW, "fused", "float32"),
    ("torch", f"{_HERE}.torch_sound:AdamWForeach", _ADAMW, None, "float32"),
    ("torch", f"{_HERE}.torch_sound:Lion", _DECOUPLED, None, "float32"),
    ("numpy", f"{_HERE}.numpy_sound:AdamWInPlace", _ADAMW, None, "float32"),
    ("numpy", f"{_HERE}.numpy_sound:RMSpropL2", "l2", None, "float32"),
    ("tensorflow", "keras.optimizers:AdamW", _ADAMW_HAT, "eager", "float32"),
    ("jax", "optax:adamw", _ADAMW, "eager", "float32"),
)
"""(framework, target, what is expected of it, path, dtype): how a step is executed, and in which precision."""


def _rewritten() -> Iterator[Sound]:
    for framework, targets in _REWRITTEN.items():
        for attribute, expectation in targets.items():
            yield Sound(
                f"{framework}-rewritten-{attribute.partition(':')[2]}", framework, f"{_HERE}.{attribute}", expectation
            )


def _libraries() -> Iterator[Sound]:
    for framework, rows in _LIBRARIES.items():
        for target, expectation, options in rows:
            shown = "".join(f"-{name}={value}" for name, value in options.items())
            name, deep = f"{framework}-library-{target.partition(':')[2]}{shown}", target not in _OF_ONE_BASE_CLASS
            yield Sound(name, framework, target, expectation, options, metamorphic=deep)


def _executed() -> Iterator[Sound]:
    for framework, target, expectation, path, dtype in _EXECUTED:
        how = "-".join(word for word in (path, dtype) if word)
        yield Sound(f"{framework}-{target.partition(':')[2]}-{how}", framework, target, expectation, {}, path, dtype)


SOUND = (*_without_fault(), *_departed(), *_rewritten(), *_libraries(), *_executed())
"""Every sound optimizer."""

"""The executable specification: Loshchilov & Hutter's rules in NumPy float64. Knows no framework and no verdict."""

from __future__ import annotations

from . import schedules
from .adam import AdamState, adam_init, adam_l2, adamw
from .options import (
    AdamOptions,
    AdamWOptions,
    AMSGrad,
    BiasCorrection,
    DecayLaw,
    DecayOrder,
    Epsilon,
    InvalidOption,
    Momentum,
    SGDOptions,
    SGDWOptions,
)
from .replay import replay
from .rules import RULES, Rule
from .sgd import SGDState, sgd_init, sgd_l2, sgdw

__all__ = [
    "RULES",
    "AMSGrad",
    "AdamOptions",
    "AdamState",
    "AdamWOptions",
    "BiasCorrection",
    "DecayLaw",
    "DecayOrder",
    "Epsilon",
    "InvalidOption",
    "Momentum",
    "Rule",
    "SGDOptions",
    "SGDState",
    "SGDWOptions",
    "adam_init",
    "adam_l2",
    "adamw",
    "replay",
    "schedules",
    "sgd_init",
    "sgd_l2",
    "sgdw",
]

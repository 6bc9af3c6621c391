"""Canonical hyperparameter names and what they are called in the wild. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a tuple-valued option, such as the first of `betas`."""

    option: str
    index: int


ALIASES: Mapping[str, tuple[str | Element, ...]] = {
    "lr": ("lr", "learning_rate", "step_size", "stepsize", "base_lr"),
    "weight_decay": (
        "weight_decay",
        "weight_decay_rate",
        "weight_decay_coef",
        "weight_decay_coefficient",
        "decoupled_weight_decay_rate",
        "wd",
    ),
    "beta1": ("beta1", "beta_1", "b1", Element("betas", 0)),
    "beta2": ("beta2", "beta_2", "b2", Element("betas", 1)),
    "eps": ("eps", "epsilon"),
    "momentum": ("momentum", "mu"),
    "dampening": ("dampening",),
    "nesterov": ("nesterov", "use_nesterov"),
    "amsgrad": ("amsgrad", "ams_grad", "use_amsgrad"),
    "maximize": ("maximize", "maximise"),
    "bias_correction": ("bias_correction", "correct_bias", "debias"),
}
"""Canonical name -> the option names that mean it, in the order in which they are tried."""

SPELLINGS: Mapping[str, Mapping[str, str | Element]] = {
    "torch": {"beta1": Element("betas", 0), "beta2": Element("betas", 1)},
    "tensorflow": {"lr": "learning_rate", "beta1": "beta_1", "beta2": "beta_2", "eps": "epsilon"},
    "jax": {"lr": "learning_rate", "beta1": "b1", "beta2": "b2"},
    "numpy": {},
}
"""Framework -> its own spelling, for a target that takes any keyword and so names none."""

PAIRS: Mapping[str, tuple[str, str]] = {"betas": ("beta1", "beta2")}
"""Tuple-valued name that a user may give -> the canonical names of its elements."""

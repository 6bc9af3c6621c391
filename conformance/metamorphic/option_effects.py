"""Options of constructors that must change something, and when. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class OptionEffect:
    """An option whose default is a flag or None, and what it must change when it is flipped."""

    names: tuple[str, ...]
    """What it is called in the wild; each that the constructor has is tried."""
    besides: Mapping[str, Any] = field(default_factory=dict)
    """Options without which it has no part in a step, set in both walks where the constructor has them."""
    dimensions: int = 0
    """Least number of dimensions of the parameters that it acts on."""


EFFECTS = (
    OptionEffect(("maximize", "maximise")),
    # PyTorch refuses Nesterov's momentum with dampening; in both walks there is momentum.
    OptionEffect(("nesterov", "use_nesterov"), {"momentum": 0.9, "dampening": 0.0}),
    # Some of the gradients shrink from step to step, so that the maximum of v is not v.
    OptionEffect(("amsgrad", "ams_grad", "use_amsgrad", "ams_bound", "amsbound")),
    OptionEffect(
        ("weight_decouple", "decoupled", "decouple", "decoupled_decay", "decoupled_weight_decay"), {"momentum": 0.9}
    ),
    OptionEffect(("fixed_decay",), {"weight_decouple": True, "decoupled_decay": True}),
    OptionEffect(("cautious",)),
    OptionEffect(("rectify",)),
    OptionEffect(("bias_correction", "correct_bias", "debias", "adam_debias"), {"momentum": 0.9}),
    OptionEffect(("centered",)),
    OptionEffect(("grad_averaging",)),
    OptionEffect(("scale_parameter",)),
    OptionEffect(("use_gc", "gradient_centralization"), dimensions=2),
)
"""Options that act only beyond a threshold (clipping, warm-up) are not among them: no effect is theirs to have."""

VANISHING: Mapping[str, tuple[str, ...]] = {
    "torch": ("maximize", "foreach", "fused", "capturable", "differentiable"),
}
"""Framework -> options that its own optimizers share, and that users therefore give to others. All but `maximize`
change no number by design."""

ACT_LATER: Mapping[str, Mapping[str, str]] = {
    "SWATS": {"nesterov": "SWATS has momentum of SGD's kind only after it has switched to SGD (Keskar, Socher 2017)"},
    "LaProp": {"centered": "LaProp centres from its step steps_before_using_centered on (Ziyin et al. 2020)"},
}
"""Class -> option -> why it has no part in the first steps."""

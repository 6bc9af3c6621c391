"""Optimizers that take more than `params` and numbers: what to hand them, or why a trace cannot drive them. Data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from .protocol import Target


class HandOver(StrEnum):
    """What a constructor takes as its first argument."""

    PARAMETERS = "the parameters"
    NAMED = "(name, parameter) pairs"
    MODEL = "a model, asked for its named parameters"


class Model:
    """What an optimizer that takes a model asks it for: its parameters, with names or without."""

    def __init__(self, named: Sequence[tuple[str, Any]]) -> None:
        self._named = tuple(named)

    def named_parameters(self) -> list[tuple[str, Any]]:
        """Return (name, parameter) pairs."""
        return list(self._named)

    def parameters(self) -> list[Any]:
        """Return the parameters."""
        return [parameter for _, parameter in self._named]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What one optimizer, or several alike, needs beyond parameters and hyperparameters."""

    package: str
    """Top-level module in which the class or factory is defined."""
    names: tuple[str, ...]
    """Its name, as shell patterns; the first row that matches wins."""
    reason: str
    """One sentence that reports show, with the source."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Constructor options that have no default, or one that cannot work here. The user's own values win."""
    group: Mapping[str, Any] = field(default_factory=dict)
    """Entries that every parameter group must have besides its parameters."""
    hand_over: HandOver = HandOver.PARAMETERS
    matrices_only: bool = False
    """Whether only parameters of two dimensions are taken."""
    dtype: str | None = None
    """The working precision it needs where it refuses float64."""
    call: str | None = None
    """Method without arguments to be called once after construction."""
    not_replayable: bool = False
    """Whether no recorded gradients can drive it."""


PLAIN_RECIPE = Recipe("", (), "")
"""What everything else is built with: nothing special."""

_HESSIAN = "a step estimates the Hessian's diagonal by differentiating the gradients, which recorded ones do not allow"
_FUSED_BACKWARD = "the update happens inside the backward pass of a model"
_MATRICES = "it takes matrices only; vectors are meant for another optimizer"
_INNER_ADAM = "vectors go to an inner Adam with the option adam_weight_decay, so matrices alone are handed over"
_MUON_GROUPS = "its parameter groups must say which are Muon's; all matrices are, and vectors are left out"
_DISTRIBUTED = "a step takes part in a process group of torch.distributed, of which there is none here"
_TRAIN_MODE = "it must be put into training mode with train()"
_IN_FLOAT32 = "it turns parameters and gradients into float32 before it computes"
_FLOAT32 = "it computes in float32 whatever the parameters are, and raises on float64"
_CLOSURE = "a step needs a closure that computes the loss anew"

RECIPES: tuple[Recipe, ...] = (
    Recipe("torch", ("Muon",), f"{_MATRICES} (torch.optim.Muon, constructor)", matrices_only=True),
    Recipe("torch", ("LBFGS",), f"{_CLOSURE} (torch.optim.LBFGS.step)", not_replayable=True),
    Recipe(
        "torch", ("SparseAdam",), "it takes sparse gradients only, and a trace holds dense ones", not_replayable=True
    ),
    Recipe(
        "keras",
        ("LossScaleOptimizer", "MultiOptimizer"),
        "it wraps other optimizers, which are what decays: audit those (keras.optimizers)",
        not_replayable=True,
    ),
    Recipe(
        "keras",
        ("Muon",),
        f"{_INNER_ADAM}; it raises on matrices in float64 (keras.optimizers.Muon)",
        matrices_only=True,
        dtype="float32",
    ),
    Recipe("optax", ("muon",), f"{_INNER_ADAM} (optax.contrib.muon)", matrices_only=True),
    Recipe("optax", ("sophia",), f"{_HESSIAN} (optax.contrib.sophia, hessian_diagonal_fn)", not_replayable=True),
    Recipe(
        "pytorch_optimizer",
        ("Muon", "NorMuon", "AdaMuon", "AdaGO", "MuonClip"),
        f"{_MUON_GROUPS} (pytorch_optimizer.optimizer.muon)",
        group={"use_muon": True},
        matrices_only=True,
    ),
    Recipe(
        "pytorch_optimizer",
        ("AdaHessian", "SophiaH"),
        f"{_HESSIAN} (pytorch_optimizer, compute_hutchinson_hessian)",
        not_replayable=True,
    ),
    Recipe("pytorch_optimizer", ("LOMO", "AdaLOMO"), f"{_FUSED_BACKWARD} (fused_backward)", not_replayable=True),
    Recipe(
        "pytorch_optimizer",
        ("AdamMini",),
        "it takes a model, whose parameters' names decide how they are split (pytorch_optimizer.AdamMini)",
        hand_over=HandOver.MODEL,
    ),
    Recipe(
        "pytorch_optimizer",
        ("BSAM", "SAM", "GSAM", "WSAM", "LookSAM", "FriendlySAM"),
        f"{_CLOSURE} (sharpness-aware minimisation)",
        not_replayable=True,
    ),
    Recipe("pytorch_optimizer", ("FAdam",), f"{_FLOAT32} (pytorch_optimizer.FAdam, fim_dtype)", dtype="float32"),
    Recipe(
        "pytorch_optimizer",
        ("Ranger21",),
        "it must be told the number of iterations; without warm-up and warm-down the learning rate is the caller's",
        options={"num_iterations": 1000, "disable_lr_scheduler": True},
    ),
    Recipe("pytorch_optimizer", ("SpectralSphere",), f"{_MATRICES} (step)", matrices_only=True),
    Recipe(
        "pytorch_optimizer",
        ("LoRARite",),
        "it takes pairs of low-rank factors, which the parameters of a trace are not (iter_lora_pairs)",
        not_replayable=True,
    ),
    Recipe(
        "pytorch_optimizer",
        ("SaRA",),
        "it moves only weights below a threshold, which is set so that it moves them all (pytorch_optimizer.SaRA)",
        options={"threshold": 1e9},
    ),
    Recipe("pytorch_optimizer", ("AdaFactor",), f"{_IN_FLOAT32} (AdaFactor.step)", dtype="float32"),
    Recipe("pytorch_optimizer", ("DeMo", "DistributedMuon"), f"{_DISTRIBUTED} (step)", not_replayable=True),
    Recipe(
        "pytorch_optimizer",
        ("ScheduleFreeWrapper",),
        "it wraps an optimizer, and its decay acts on where that one went (ScheduleFreeWrapper)",
        not_replayable=True,
    ),
    Recipe("torch_optimizer", ("Adahessian",), f"{_HESSIAN} (get_trace)", not_replayable=True),
    Recipe("torch_optimizer", ("RAdam",), f"{_IN_FLOAT32} (RAdam.step)", dtype="float32"),
    Recipe("pytorch_ranger", ("Ranger", "RangerVA"), f"{_IN_FLOAT32} (step)", dtype="float32"),
    Recipe("schedulefree", ("*Closure",), f"{_CLOSURE} (schedulefree)", not_replayable=True),
    Recipe("schedulefree", ("*",), f"{_TRAIN_MODE} (schedulefree)", call="train"),
    Recipe(
        "adam_mini",
        ("Adam_mini",),
        "it takes named parameters, whose names decide how they are split (adam_mini)",
        hand_over=HandOver.NAMED,
    ),
    Recipe(
        "bitsandbytes",
        ("SGD*", "LARS*", "PytorchLARS"),
        f"it refuses a momentum of zero, its own default; {_FLOAT32} (bitsandbytes.optim)",
        options={"momentum": 0.9},
        dtype="float32",
    ),
    Recipe("bitsandbytes", ("*",), f"{_FLOAT32} (bitsandbytes.functional)", dtype="float32"),
    Recipe("muon", ("Muon", "MuonWithAuxAdam"), f"{_DISTRIBUTED} (step)", not_replayable=True),
    Recipe("muon", ("SingleDeviceMuon",), f"{_MATRICES} (muon, zeropower_via_newtonschulz5)", matrices_only=True),
)
"""The first row that matches wins."""


def recipe_of(target: Target) -> Recipe:
    """Return the recipe of the target's class or factory, `PLAIN_RECIPE` where it needs none.

    A class defined elsewhere that derives from one with a recipe is another optimizer, and has none of its own.
    """
    attribute = target.attribute
    package = str(getattr(attribute, "__module__", "")).partition(".")[0]
    name = str(getattr(attribute, "__qualname__", ""))
    for row in RECIPES:
        if row.package == package and any(fnmatchcase(name, pattern) for pattern in row.names):
            return row
    return PLAIN_RECIPE


def first_argument(recipe: Recipe, handed: Sequence[Any]) -> Any:
    """Return what the constructor takes first, made of `handed`: parameters, or parameter groups.

    Parameters without names of their own are called `parameter_0`, `parameter_1` and so on.
    """
    if recipe.hand_over is not HandOver.PARAMETERS:
        named = [(f"parameter_{position}", parameter) for position, parameter in enumerate(handed)]
        return named if recipe.hand_over is HandOver.NAMED else Model(named)
    if not recipe.group:
        return list(handed)
    if all(isinstance(each, Mapping) for each in handed):
        return [{**each, **recipe.group} for each in handed]
    return [{"params": list(handed), **recipe.group}]

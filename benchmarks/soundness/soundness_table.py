"""Which optimizers are stepped, on which paths and in which precisions, and the rule each is held to. Data only."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from optconform.reference import AMSGrad, DecayLaw, Epsilon, Momentum
from optconform.reference.arithmetic import Arithmetic, arithmetic
from optconform.reference.platforms import platform_of

DTYPES = ("float64", "float32", "bfloat16", "float16")
SIXTEEN_BIT = frozenset({"bfloat16", "float16"})


@dataclass(frozen=True, slots=True)
class Row:
    """One optimizer, the rule of the reference that it is documented to follow, and how it is built."""

    framework: str
    spec: str
    rule: str
    reference: Mapping[str, Any]
    """Options of the rule that say which variant of it this is."""
    paths: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    """Constructor options, the same in every case."""
    tensor_lr: bool = False
    """Whether torch is given the learning rate as a tensor."""


TORCH, KERAS, JAX = ("loop", "foreach", "fused"), ("eager", "function", "compiled"), ("eager", "compiled")
LR_WD, HAT = {"law": DecayLaw.LR_WD}, {"law": DecayLaw.LR_WD, "epsilon": Epsilon.HAT}
RAW, AMS = {"amsgrad": AMSGrad.RAW}, {"amsgrad": True}
OUTSIDE = {"momentum_form": Momentum.LR_OUTSIDE}
TORCH_SGD = {**OUTSIDE, "dampen_first_step": False}
KERAS_SGD = {**LR_WD, "momentum_form": Momentum.LR_INSIDE}
NESTEROV = {"nesterov": True}
DECOUPLED = {"decoupled_weight_decay": True}
CHAINS = "optconform.adapters.optax_chains"
PLAIN = "optconform.adapters.numpy_optimizers"

TABLE = (
    Row("torch", "torch.optim:AdamW", "adamw", LR_WD, TORCH),
    Row("torch", "torch.optim:AdamW", "adamw", {**LR_WD, **RAW}, TORCH, AMS),
    Row("torch", "torch.optim:AdamW", "adamw", LR_WD, ("fused",), {"capturable": True}),
    Row("torch", "torch.optim:AdamW", "adamw", LR_WD, ("loop", "fused"), tensor_lr=True),
    Row("torch", "torch.optim:Adam", "adam_l2", {}, TORCH),
    Row("torch", "torch.optim:Adam", "adam_l2", RAW, TORCH, AMS),
    Row("torch", "torch.optim:Adam", "adamw", LR_WD, TORCH, DECOUPLED),
    Row("torch", "torch.optim:Adam", "adamw", {**LR_WD, **RAW}, TORCH, {**DECOUPLED, **AMS}),
    Row("torch", "torch.optim:SGD", "sgd_l2", TORCH_SGD, TORCH),
    Row("torch", "torch.optim:SGD", "sgd_l2", {**TORCH_SGD, **NESTEROV}, TORCH, NESTEROV),
    Row("torch", "torch.optim:SGD", "sgd_l2", TORCH_SGD, TORCH, tensor_lr=True),
    Row("tensorflow", "keras.optimizers:AdamW", "adamw", HAT, KERAS),
    Row("tensorflow", "keras.optimizers:AdamW", "adamw", {**HAT, **RAW}, KERAS, AMS),
    Row("tensorflow", "keras.optimizers:Adam", "adamw", HAT, KERAS),
    Row("tensorflow", "keras.optimizers:Adam", "adamw", {**HAT, **RAW}, KERAS, AMS),
    Row("tensorflow", "keras.optimizers:SGD", "sgdw", KERAS_SGD, KERAS),
    Row("tensorflow", "keras.optimizers:SGD", "sgdw", {**KERAS_SGD, **NESTEROV}, KERAS, NESTEROV),
    Row("jax", "optax:adamw", "adamw", LR_WD, JAX),
    Row("jax", "optax:amsgrad", "adamw", {**LR_WD, "amsgrad": AMSGrad.CORRECTED}, JAX),
    Row("jax", f"{CHAINS}:adam_l2", "adam_l2", {}, JAX),
    Row("jax", f"{CHAINS}:sgd_l2", "sgd_l2", OUTSIDE, JAX),
    Row("jax", f"{CHAINS}:sgd_l2", "sgd_l2", {**OUTSIDE, **NESTEROV}, JAX, NESTEROV),
    Row("jax", f"{CHAINS}:sgdw", "sgdw", {**LR_WD, **OUTSIDE}, JAX),
    Row("jax", f"{CHAINS}:sgdw", "sgdw", {**LR_WD, **OUTSIDE, **NESTEROV}, JAX, NESTEROV),
    Row("numpy", f"{PLAIN}:AdamW", "adamw", LR_WD, ("default",)),
    Row("numpy", f"{PLAIN}:SGDW", "sgdw", {**LR_WD, **OUTSIDE}, ("default",)),
)


DEFECTS: Mapping[str, str] = {
    "torch.optim:SGD*/fused/*float16*": "github.com/pytorch/pytorch/issues/191763: up to torch 2.13 the fused kernel "
    "for CPUs leaves 16-bit parameters where they are, but for the few behind the last whole vector",
}
"""Pattern of lanes -> what is wrong with the framework there. Counted apart: nothing is expected of them."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One row on one path in one precision: what is counted together."""

    row: Row
    path: str
    dtype: str
    working: str | None = None
    """Format of the work where it is wider than that of the parameters."""

    @property
    def name(self) -> str:
        """Target, constructor options, path and precision, as `--only` matches them."""
        options = "".join(f",{name}" for name in self.row.options) + ",tensor-lr" * self.row.tensor_lr
        return f"{self.row.spec}{options}/{self.path}/{self.dtype}" + (f"-in-{self.working}" if self.working else "")

    @property
    def defect(self) -> str | None:
        """Why this lane is outside the bound, where the framework's own issue tracker says so."""
        return next((reason for pattern, reason in DEFECTS.items() if fnmatchcase(self.name, pattern)), None)

    @property
    def arithmetic(self) -> Arithmetic:
        """The assumptions of the bound. Keras forms betas and their powers in a 16-bit format itself."""
        scalars = self.dtype if self.row.framework == "tensorflow" else None
        place = platform_of(self.row.framework, "cpu")
        return arithmetic(self.dtype, place, working=self.working, scalars=scalars)


def lanes() -> Iterator[Lane]:
    """Yield every lane. torch's fused kernels work in float32 on 16-bit parameters: held to that, and to less."""
    for dtype, row in itertools.product(DTYPES, TABLE):
        for path in row.paths:
            yield Lane(row, path, dtype)
            if path == "fused" and dtype in SIXTEEN_BIT:
                yield Lane(row, path, dtype, "float32")

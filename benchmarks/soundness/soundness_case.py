"""One case: one optimizer with everything drawn, stepped beside the reference."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from soundness_draws import gradients, hyperparameters, initial_parameters, schedule
from soundness_table import SIXTEEN_BIT, Lane

from optconform.adapters.arrays import host_dtype
from optconform.adapters.frameworks import load_adapter
from optconform.adapters.options import accepts
from optconform.adapters.protocol import Optimizer, Target
from optconform.adapters.targets import load_target
from optconform.conformance.casts import BIAS_CORRECTION, EVERYWHERE, as_used
from optconform.conformance.hypotheses import Hypothesis, multiplier_as_used
from optconform.reference import RULES
from optconform.reference.comparison import Comparison
from optconform.reference.follow import Follower, Mode
from optconform.reference.replay import Engine

Array = NDArray[Any]

SHAPES = ((8, 1.0), (32, 0.25), (256, 1.0 / 32.0))
"""Steps of a case, and its elements as part of --elements: 8 times --elements comparisons, whichever it is."""
FREE_RUNS = 0.25
"""Part of the cases of a decoupled rule, in float64 and float32, in which theta drifts over all steps."""
PARAMETER = "theta"


TAKEN = {
    "adam": ("lr", "weight_decay", "beta1", "beta2", "eps"),
    "sgd": ("lr", "weight_decay", "momentum", "dampening"),
}
"""Family -> the hyperparameters that are drawn, as far as the target has them."""


@dataclass
class Count:
    """What one lane has shown so far."""

    cases: int = 0
    steps: int = 0
    compared: int = 0
    undecidable: int = 0
    worst_ratio: float = 0.0
    steps_outside: int = 0

    def add(self, found: Comparison) -> None:
        """Count one step."""
        self.steps += 1
        self.compared += found.compared
        self.undecidable += found.undecidable
        self.worst_ratio = max(self.worst_ratio, found.ratio)
        self.steps_outside += found.ratio > 1.0

    def include(self, other: Count) -> None:
        """Add what another lane has shown."""
        self.cases += other.cases
        self.steps += other.steps
        self.compared += other.compared
        self.undecidable += other.undecidable
        self.worst_ratio = max(self.worst_ratio, other.worst_ratio)
        self.steps_outside += other.steps_outside


@dataclass(frozen=True, slots=True)
class Case:
    """One lane with everything drawn: `seed`, the lane's name and `index` say all of it."""

    lane: Lane
    seed: int
    index: int
    elements: int
    """Those of the shortest case."""
    engine: Engine = "auto"

    def rng(self) -> np.random.Generator:
        """Return this case's own generator, the same whatever else runs."""
        return np.random.default_rng((self.seed, zlib.crc32(self.lane.name.encode()), self.index))

    @property
    def rerun(self) -> str:
        """The command that runs this case and no other."""
        return (
            f"python benchmarks/soundness --seed {self.seed} --elements {self.elements} --only '{self.lane.name}' "
            f"--first-case {self.index} --rounds 1"
        )


def mode_of(lane: Lane, rng: np.random.Generator) -> Mode:
    """Return the mode: full resync where moments are stored in 16 bit, else theta-resync or a free run."""
    rule = RULES[lane.row.rule]
    if lane.dtype in SIXTEEN_BIT:
        return Mode.FULL_RESYNC if rule.family == "adam" else Mode.THETA_RESYNC
    return Mode.FREE_RUN if rule.decoupled and rng.random() < FREE_RUNS else Mode.THETA_RESYNC


def run_case(case: Case, count: Count) -> list[dict[str, Any]]:
    """Step one optimizer beside the reference, count every step, and return what lies outside the bound."""
    lane, rng = case.lane, case.rng()
    steps, part = SHAPES[rng.integers(len(SHAPES))]
    size, dtype, mode = max(1, int(case.elements * part)), host_dtype(lane.dtype), mode_of(lane, rng)
    target = load_target(lane.row.spec)
    names = [name for name in TAKEN[RULES[lane.row.rule].family] if name == "lr" or accepts(target, name)]
    drawn = hyperparameters(names, rng, nesterov="nesterov" in lane.row.options)
    before: Array = initial_parameters(size, rng).astype(dtype)
    optimizer = built(lane, target, drawn, before)
    held = reference_of(lane, optimizer, drawn)
    follower = Follower(held.rule, held.options, before, lane.arithmetic, mode=mode, engine=case.engine)
    lr, outside = float(optimizer.held["lr"]), []
    multipliers, recorded = schedule(steps, rng), gradients(size, rng)
    for step, multiplier in enumerate(multipliers.tolist(), start=1):
        grad = next(recorded).astype(dtype)
        optimizer.step({PARAMETER: grad}, multiplier * lr)
        after = optimizer.read_parameters()[PARAMETER]
        state = _state(optimizer) if mode is Mode.FULL_RESYNC else None
        used = multiplier_as_used(held, multiplier)
        with np.errstate(all="ignore"):  # what has overflowed is counted, not warned of
            found = follower.step(before, grad, after, used, state_after=state).comparison
        count.add(found)
        if found.ratio > 1.0:
            where = {"lane": lane.name, "case": case.index, "mode": mode.value, "elements": size, "step": step}
            at = found.element or 0
            values = {"theta": float(before[at]), "grad": float(grad[at]), "theta_after": float(after[at])}
            outside.append({**where, **drawn, "multiplier": multiplier, **values, **asdict(found), "rerun": case.rerun})
        before = after
    count.cases += 1
    return outside


def built(lane: Lane, target: Target, drawn: Mapping[str, float], theta: Array) -> Optimizer:
    """Return the optimizer over one vector of parameters."""
    given: dict[str, Any] = {**drawn, **lane.row.options}
    if lane.row.tensor_lr:
        import torch

        # As wide as the parameters: from a float32 tensor, float64 ones get 1 - lr*wd in float32 (5e-4 of the decay).
        given["lr"] = torch.tensor(drawn["lr"], dtype=torch.float64 if lane.dtype == "float64" else torch.float32)
    adapter = load_adapter(lane.row.framework)
    return adapter.build(target, given, {PARAMETER: theta}, dtype=lane.dtype, path=lane.path)


def reference_of(lane: Lane, optimizer: Optimizer, drawn: Mapping[str, float]) -> Hypothesis:
    """Return the lane's rule with the hyperparameters as the optimizer holds and uses them."""
    held = {name: float(optimizer.held[name]) for name in drawn}
    everywhere = (cast for cast in optimizer.casts if cast.hyperparameter != "lr")  # that one is rounded step by step
    used = as_used(held, everywhere, EVERYWHERE)
    corrected = as_used(used, optimizer.casts, BIAS_CORRECTION)
    apart = {f"correction_{name}": corrected[name] for name in used if corrected[name] != used[name]}
    rule = RULES[lane.row.rule]
    return Hypothesis(rule, rule.options(**used, **apart, **lane.row.reference), optimizer.casts)


def _state(optimizer: Optimizer) -> dict[str, Array]:
    return {slot: arrays[PARAMETER] for slot, arrays in optimizer.read_state().items() if PARAMETER in arrays}

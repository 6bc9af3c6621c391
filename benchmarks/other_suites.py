"""What the criteria of existing test suites can see: planted faults in AdamW, each held against each criterion.

Every row of `SUITES` states how one public suite decides that an optimizer is right: its problem, hyperparameters,
steps and tolerance, as its file says; only those are taken over. They are run in NumPy, in float64, on one
implementation of AdamW that is sound, and on the same with a fault. Prints one Markdown table row a suite; the last
two are this package's own. Fails (exit status 1) where a criterion rejects the sound one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import optconform
from optconform.reference import adam_init, adam_l2, adamw
from optconform.reference.options import AdamOptions, AdamWOptions, DecayLaw, Epsilon

BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
"""What stands between these two lines of a page is made here."""
Array = NDArray[np.float64]
Gradient = Callable[[Array], Array]


class Sound:
    """AdamW over one array: theta <- theta - lr*(mhat/(sqrt(vhat) + eps) + weight_decay*theta)."""

    def __init__(self, lr: float, weight_decay: float, epsilon: Epsilon = Epsilon.OUTSIDE, **adam: float) -> None:
        """Take the hyperparameters; `epsilon` is Keras' place of it, or the others'."""
        self.adam: dict[str, Any] = {"lr": lr, "epsilon": epsilon, **adam}
        self.weight_decay = weight_decay
        self.state: Any = None

    @property
    def options(self) -> AdamOptions:
        """The options of the reference that make its step."""
        return AdamWOptions(weight_decay=self.weight_decay, law=DecayLaw.LR_WD, **self.adam)

    def step(self, theta: Array, grad: Array) -> Array:
        """Return the parameters after one step."""
        if self.state is None:
            self.state = adam_init(theta, self.options)
        options = self.options
        if isinstance(options, AdamWOptions):
            theta, self.state = adamw(theta, grad, self.state, options)
        else:
            theta, self.state = adam_l2(theta, grad, self.state, options)
        return theta


class L2(Sound):
    """The decay goes through the moments: Adam with L2 regularisation."""

    @property
    def options(self) -> AdamOptions:
        """Those of Adam with L2."""
        return AdamOptions(weight_decay=self.weight_decay, **self.adam)


class Ignored(Sound):
    """The option is accepted and not used."""

    @property
    def options(self) -> AdamOptions:
        """Those without decay."""
        return AdamWOptions(**self.adam)


class WithoutRate(Sound):
    """The decay is not multiplied by the learning rate: theta*(1 - weight_decay)."""

    @property
    def options(self) -> AdamOptions:
        """Those with the law `wd`."""
        return AdamWOptions(weight_decay=self.weight_decay, law=DecayLaw.WD, **self.adam)


class Growing(Ignored):
    """The decay has the wrong sign."""

    def step(self, theta: Array, grad: Array) -> Array:
        """Return the parameters after one step."""
        grown: Array = super().step(theta, grad) + self.adam["lr"] * self.weight_decay * theta
        return grown


class Uphill(Sound):
    """The step has the wrong sign: it maximises the loss."""

    def step(self, theta: Array, grad: Array) -> Array:
        """Return the parameters after one step."""
        return super().step(theta, -grad)


Maker = Callable[..., Sound]
FAULTS: Mapping[str, Maker] = {
    "L2 for decoupled": L2,
    "decay ignored": Ignored,
    "law wd for lr*wd": WithoutRate,
    "weights grow": Growing,
    "step uphill": Uphill,
}


def walked(optimizer: Sound, theta: Array, gradient: Gradient, steps: int) -> Array:
    """Return the parameters after `steps`, with the gradient where they are."""
    for _ in range(steps):
        theta = optimizer.step(theta, gradient(theta))
    return theta


def least_squares_falls(make: Maker, steps: int, weight_decay: float, lr: float) -> bool:
    """Whether |W x + b|**2 is lower in the end than in the beginning, as the suites of PyTorch and timm ask."""
    random = np.random.default_rng(0)
    inputs = np.append(random.standard_normal(5), 1.0)

    def loss(theta: Array) -> float:
        return float(np.sum((theta.reshape(10, 6) @ inputs) ** 2))

    def gradient(theta: Array) -> Array:
        return np.outer(2.0 * theta.reshape(10, 6) @ inputs, inputs).ravel()

    theta = random.standard_normal(60)
    return loss(walked(make(lr, weight_decay), theta, gradient, steps)) < loss(theta)


def optax_arrives(make: Maker) -> bool:
    """Whether a parabola and Rosenbrock's function are minimised to 3% in 10,000 steps, as Optax asks."""

    def rosenbrock(theta: Array) -> Array:
        x, y = theta
        return np.array([-2 * (1 - x) - 400 * x * (y - x**2), 200 * (y - x**2)])

    goal = np.array([1.0, -1.0, 1.0])
    problems = (
        (np.array([-1.0, 10.0, 1.0]), lambda theta: 2 * (theta - goal), goal),
        (np.zeros(2), rosenbrock, np.ones(2)),
    )
    with np.errstate(all="ignore"):
        return all(
            np.allclose(walked(make(0.1, 1e-4), start, gradient, 10_000), end, rtol=3e-2, atol=3e-2)
            for start, gradient, end in problems
        )


def keras_golden(make: Maker) -> bool:
    """Whether five steps at learning rate 1 give the stored values, as Keras asks; here a sound run stores them."""
    settings: dict[str, Any] = {"lr": 1.0, "weight_decay": 0.5, "eps": 2.0, "epsilon": Epsilon.HAT}
    gradients = [np.full(10, 0.01), *[np.arange(0.1, 1.05, 0.1)] * 4]
    tried, stored = make(**settings), Sound(**settings)
    theta, golden = np.ones(10), np.ones(10)
    for grad in gradients:
        theta, golden = tried.step(theta, grad), stored.step(golden, grad)
        if not np.allclose(theta, golden, rtol=5e-4, atol=5e-4):
            return False
    alone = make(1.0, 0.004, epsilon=Epsilon.HAT).step(np.array([2.0]), np.zeros(1))
    return bool(abs(alone[0] - 2.0 * (1 - 0.004)) < 5e-4)


def transformers_arrives(make: Maker) -> bool:
    """Whether three numbers arrive in 100 steps, without decay, as transformers asked of its AdamW."""
    goal = np.array([0.4, 0.2, -0.5])
    end = walked(make(0.2, 0.0), np.array([0.1, -0.2, -0.1]), lambda theta: 2 * (theta - goal) / 3, 100)
    return bool(np.all(np.abs(end - goal) < 1e-2))


def halves_the_loss(make: Maker) -> bool:
    """Whether 200 steps of logistic regression halve the loss, as pytorch_optimizer asks."""
    random = np.random.default_rng(42)
    inputs = random.standard_normal((200, 2))
    labels = (inputs.sum(axis=1) > 0).astype(float)

    def probability(theta: Array) -> Array:
        found: Array = 1 / (1 + np.exp(-np.clip(inputs @ theta[:2] + theta[2], -500, 500)))
        return found

    def loss(theta: Array) -> float:
        p = np.clip(probability(theta), 1e-12, 1 - 1e-12)
        return float(-np.mean(labels * np.log(p) + (1 - labels) * np.log(1 - p)))

    def gradient(theta: Array) -> Array:
        error = (probability(theta) - labels) / len(labels)
        return np.append(inputs.T @ error, error.sum())

    start = 0.1 * random.standard_normal(3)
    return loss(start) > 2.0 * loss(walked(make(0.5, 1e-3), start, gradient, 200))


@dataclass(frozen=True)
class Beside:
    """Whether an optimizer and a sound one stay together on random gradients: how fused kernels are tested."""

    steps: int
    lr: float
    weight_decay: float
    close: Callable[[Array, Array], bool]
    scale: tuple[float, float] = (1.0, 1.0)
    """Of parameters and of gradients."""
    same: bool = False
    """Whether what stands beside it has the same fault, since it is another execution path of it."""
    uniform: bool = False
    """Whether parameters and gradients are uniform on [0, 1), otherwise standard normal."""

    def __call__(self, make: Maker) -> bool:
        """Whether they are close after every step; where only the last counts, `close` sees it last."""
        random = np.random.default_rng(9876)
        draw = random.random if self.uniform else random.standard_normal
        one, other = make(self.lr, self.weight_decay), (make if self.same else Sound)(self.lr, self.weight_decay)
        theta = beside = self.scale[0] * draw(4_096)
        for _ in range(self.steps):
            grad = self.scale[1] * draw(4_096)
            theta, beside = one.step(theta, grad), other.step(beside, grad)
        return self.close(theta, beside)


def within(rtol: float, atol: float) -> Callable[[Array, Array], bool]:
    """Return whether all elements are close."""
    return lambda one, other: bool(np.allclose(one, other, rtol=rtol, atol=atol))


def apex_within(one: Array, other: Array) -> bool:
    """Return whether the largest difference is at most 1e-3, and at most the element itself."""
    difference = np.abs(one - other)
    return bool(difference.max() <= 1e-3 and (difference / np.abs(one)).max() <= 1.0)


def norms_within(share: float) -> Callable[[Array, Array], bool]:
    """Return whether the norms of two arrays are close."""
    return lambda one, other: bool(abs(np.linalg.norm(one) - np.linalg.norm(other)) <= share * np.linalg.norm(one))


@dataclass
class Audited:
    """The target that optconform is given: `make` over dictionaries of arrays."""

    make: Maker
    weight_decay: float = 1e-2
    beta2: float = 0.999
    each: dict[str, Sound] = field(default_factory=dict)

    def step(self, params: Mapping[str, Array], grads: Mapping[str, Array | None], lr: float) -> dict[str, Array]:
        """Return the new parameters."""
        updated = dict(params)
        for name, grad in grads.items():
            if grad is not None:
                one = self.each.setdefault(name, self.make(lr, self.weight_decay, beta2=self.beta2))
                one.adam["lr"] = lr
                updated[name] = one.step(params[name], grad)
        return updated


def audited(make: Maker) -> bool:
    """Whether `optconform.audit` finds decoupled decay of law lr*wd."""

    def target(weight_decay: float = 1e-2, beta2: float = 0.999) -> Audited:
        return Audited(make, weight_decay, beta2)

    result = optconform.audit(
        target, expect="decoupled,law=lr*wd", framework="numpy", traces=["synthetic:mixed"], metamorphic=False
    )
    return result.exit_status == 0


def compared(make: Maker) -> bool:
    """Whether `optconform.compare` finds it on the path of another AdamW, with hyperparameters of ordinary size."""

    def target(weight_decay: float = 1e-2, beta2: float = 0.999) -> Audited:
        return Audited(make, weight_decay, beta2)

    result = optconform.compare(
        "optconform.adapters.numpy_optimizers:AdamW",
        target,
        framework_b="numpy",
        weight_decay=0.01,
        traces=["synthetic:mixed"],
    )
    return result.outcome == "same"


SUITES: Mapping[str, Callable[[Maker], bool]] = {
    "PyTorch, loss falls": lambda make: least_squares_falls(make, 20, 0.1, 1e-3),
    "PyTorch, paths agree, fault in all of them": Beside(7, 1e-3, 0.1, within(1e-7, 1e-7), same=True),
    "PyTorch, paths agree, fault in one": Beside(7, 1e-3, 0.1, within(1e-7, 1e-7)),
    "Optax, arrives": optax_arrives,
    "Keras, stored values": keras_golden,
    "timm, loss falls": lambda make: least_squares_falls(make, 200, 0.0, 1e-3),
    "transformers, arrives": transformers_arrives,
    "pytorch_optimizer, loss halves": halves_the_loss,
    "apex, beside PyTorch": Beside(7, 5e-4, 0.0, apex_within, uniform=True),
    "Transformer Engine, beside PyTorch": Beside(7, 5e-4, 0.0, within(1.3e-6, 1e-5), uniform=True),
    "DeepSpeed, norms agree": Beside(10, 1e-3, 0.01, norms_within(1e-2)),
    "bitsandbytes, paged AdamW": Beside(20, 1e-3, 0.01, within(1e-5, 1e-6), scale=(0.1, 0.01)),
    "bitsandbytes, Adam": Beside(20, 1e-3, 0.0, within(1e-5, 1e-6), scale=(0.1, 0.01)),
    "`optconform audit`": audited,
    "`optconform compare`": compared,
}


def table() -> list[str]:
    """Return the rows of the table, as Markdown. Raises `SystemExit` where the sound optimizer is rejected."""
    rows = [f"| suite, criterion | {' | '.join(FAULTS)} |", f"|---|{'---|' * len(FAULTS)}"]
    for name, accepts in SUITES.items():
        if not accepts(Sound):
            raise SystemExit(f"{name}: rejects the sound optimizer, so its rows would say nothing")
        cells = ["missed" if accepts(fault) else "**caught**" for fault in FAULTS.values()]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return [row.replace("law wd for lr*wd", "law `wd` for `lr*wd`") for row in rows]


def main() -> int:
    """Print the table, or write it into a page."""
    parser = argparse.ArgumentParser(description="Hold planted faults against the criteria of existing suites.")
    parser.add_argument("--page", type=Path, help="Markdown file that holds the table, to be renewed")
    page = parser.parse_args().page
    rows = "\n".join(table())
    if page is None:
        print(rows)
        return 0
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{rows}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

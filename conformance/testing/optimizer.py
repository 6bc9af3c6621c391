"""One optimizer to be tested: the target, how to build it, what is expected of it, and its id."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ..expectation import DEFAULT_EXPECTATION, Expectation, parse_expectation

Target = str | Callable[..., Any]


@dataclass(frozen=True, slots=True, init=False, eq=False, repr=False)
class Optimizer:
    """One optimizer to be tested, with the arguments of `optconform.audit`.

    `expected_failures` is {id of a check, or code of a rule: reason}: a check that fails so is an expected failure,
    and one that no longer does is an error. `label` replaces the id that is made of target and hyperparameters.
    `device` and `traces` win over the options of the pytest plugin.

    Raises `InvalidExpectation` for a bad expectation, `TypeError` for a target that is neither text nor callable.

    >>> Optimizer("optconform.adapters.numpy_optimizers:SGDW", weight_decay=0.1).id
    'optconform.adapters.numpy_optimizers:SGDW,weight_decay=0.1'
    """

    target: Target
    expectation: Expectation
    hyperparameters: Mapping[str, Any]
    arguments: Mapping[str, Any]
    """Arguments of `make_subject` besides target, device and hyperparameters."""
    device: str | None
    traces: tuple[str, ...]
    expected_failures: Mapping[str, str]
    id: str

    def __init__(
        self,
        target: Target,
        *,
        expect: str = DEFAULT_EXPECTATION,
        expected_failures: Mapping[str, str] | None = None,
        label: str | None = None,
        framework: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        mode: str | None = None,
        path: str | None = None,
        traces: Sequence[str] = (),
        option_names: Mapping[str, str] | None = None,
        **hyperparameters: Any,
    ) -> None:
        if not isinstance(target, str) and not callable(target):
            raise TypeError(
                f"{target!r} is no optimizer to be tested: expected a class, a factory or text such as "
                "'torch.optim:AdamW', alone, as (target, options) or in an optconform.Optimizer."
            )
        arguments = {"framework": framework, "dtype": dtype, "mode": mode, "path": path, "option_names": option_names}
        values = {
            "target": target,
            "expectation": parse_expectation(expect),
            "hyperparameters": MappingProxyType(hyperparameters),
            "arguments": MappingProxyType(arguments),
            "device": device,
            "traces": tuple(traces),
            "expected_failures": MappingProxyType(dict(expected_failures or {})),
            "id": label if label is not None else _id_of(target, hyperparameters, path, dtype),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)  # the way into a frozen instance

    def __repr__(self) -> str:
        return f"<optimizer {self.id}>"

    def key(self) -> Hashable:
        """Return what two optimizers share that are built and judged alike; this instance where that is not hashable.

        Types are part of it: 1 and 1.0 are equal, but need not be to an optimizer.
        """
        options = tuple((name, type(value), value) for name, value in sorted(self.hyperparameters.items()))
        arguments = dict(self.arguments)
        renamed = tuple(sorted((arguments.pop("option_names") or {}).items()))
        key = (self.target, options, tuple(arguments.items()), renamed, str(self.expectation), self.device, self.traces)
        try:
            hash(key)
        except TypeError:
            return self
        return key


def optimizer_of(entry: Any) -> Optimizer:
    """Return the optimizer that one entry of `parametrize_with_checks` stands for.

    An entry is an `Optimizer`, a target, or `(target, options)`, where the options are the keyword arguments of
    `Optimizer`. Raises what `Optimizer` raises.

    >>> optimizer_of(("optconform.adapters.numpy_optimizers:AdamW", {"beta1": 0.8, "label": "slow"}))
    <optimizer slow>
    """
    if isinstance(entry, Optimizer):
        return entry
    if isinstance(entry, tuple):
        target, options = entry
        return Optimizer(target, **options)
    return Optimizer(entry)


def _id_of(target: Target, hyperparameters: Mapping[str, Any], path: str | None, dtype: str | None) -> str:
    """Return a readable id without spaces, the same in every process: no value that is no literal is shown."""
    name = target if isinstance(target, str) else getattr(target, "__qualname__", type(target).__qualname__)
    words = [name.rpartition("<locals>.")[2]]
    for option, value in hyperparameters.items():
        plain = isinstance(value, str | int | float | bool | None)
        words.append(f"{option}={value}".replace(" ", "") if plain else option)
    return ",".join([*words, *(word for word in (path, dtype) if word)])

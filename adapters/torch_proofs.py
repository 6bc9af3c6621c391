"""Seeing how PyTorch really applies an update: which operators ran, and which of them wrote to the parameters.

An optimizer may take `fused=True` and run its loop all the same: numbers cannot show it, operators do. They are seen
through torch's dispatcher, in every step. That changes no bit of what torch.optim computes; a target that compiles
parts of its own step runs them uncompiled while it is looked at. A kernel that is launched past the dispatcher, as
Triton's are, is not seen to write, and counts for no implementation of torch's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from .torch_groups import entries_of, groups_of
from .torch_optimizer import TorchOptimizer

Apply = Callable[[], Any]
"""What applies one update, once gradients and learning rate are set."""

FOREACH, FUSED = "_foreach_", "_fused_"
"""How the names begin of operators that take all parameters at once, and of those that compute a whole update."""

_WAITING = frozenset({"aten::_local_scalar_dense", "aten::is_nonzero", "aten::equal", "aten::nonzero"})
"""Operators whose result the host waits for, as it does for what is copied to it: none of them can be captured."""

_TO_HOST = " to the host"
"""Ending of the names of operators that read a device and leave a tensor on the host."""


class Watch(Protocol):
    """Takes the place of what applies an update, and keeps what it saw."""

    def __call__(self, apply: Apply) -> None:
        """Apply one update by calling `apply`, looking on. Raises what it raises."""

    def verdict(self) -> tuple[bool, str]:
        """Return whether every update so far was applied as asked, and what was seen, as part of a sentence."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one update did."""

    operators: frozenset[str]
    """All that ran, such as `aten::_foreach_add_`."""
    writers: Mapping[str, frozenset[str]]
    """Parameter -> operators that wrote to it."""
    given: Mapping[str, frozenset[str]]
    """Operator -> names of the keyword arguments that were given, and not as None, in every call."""

    def writing(self) -> frozenset[str]:
        """Return all operators that wrote to some parameter."""
        return frozenset[str]().union(*self.writers.values())


Judge = Callable[[Seen, Iterable[str]], str]
"""From what an update did, and the parameters that had a dense gradient: what speaks against it, or nothing."""


class OperatorLog(TorchDispatchMode):  # type: ignore[misc]
    """While entered, notes every operator; arguments and results pass unchanged."""

    def __init__(self) -> None:
        super().__init__()
        self._names: dict[int, str] = {}
        self._operators: set[str] = set()
        self._writers: dict[str, set[str]] = {}
        self._given: dict[str, set[str]] = {}

    def begin(self, tensors: Mapping[str, Any]) -> None:
        """Forget what was noted; what is written to `tensors` counts from now on."""
        self._names = {tensor.untyped_storage().data_ptr(): name for name, tensor in tensors.items() if tensor.numel()}
        self._operators, self._writers, self._given = set(), {}, {}

    def seen(self) -> Seen:
        """Return what has been noted since `begin`."""
        return Seen(
            frozenset(self._operators),
            {name: frozenset(operators) for name, operators in self._writers.items()},
            {operator: frozenset(names) for operator, names in self._given.items()},
        )

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note `func` and run it."""
        kwargs = kwargs or {}
        operator = func._schema.name
        self._operators.add(operator)
        given = {name for name, value in kwargs.items() if value is not None}
        self._given[operator] = self._given.get(operator, given) & given
        for index, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                self._note_writing(operator, args[index] if index < len(args) else kwargs.get(argument.name))
        result = func(*args, **kwargs)
        if copies_to_host(args, result):
            self._operators.add(operator + _TO_HOST)
        return result

    def _note_writing(self, operator: str, written: Any) -> None:
        for tensor in written if isinstance(written, tuple | list) else (written,):
            if isinstance(tensor, torch.Tensor) and tensor.layout is torch.strided:
                name = self._names.get(tensor.untyped_storage().data_ptr())
                if name is not None:
                    self._writers.setdefault(name, set()).add(operator)


class Unwatched:
    """Applies updates as they come: for what leaves nothing to choose."""

    def __init__(self) -> None:
        self._steps = 0

    def __call__(self, apply: Apply) -> None:
        """Apply one update."""
        apply()
        self._steps += 1

    def verdict(self) -> tuple[bool, str]:
        """Return whether there was any."""
        return self._steps > 0, f"{self._steps} updates, applied as the optimizer was constructed"


class OperatorWatch:
    """Judges what each update did by its operators; updates without any gradient show nothing."""

    def __init__(self, optimizer: TorchOptimizer, judge: Judge) -> None:
        self._tensors = optimizer.tensors
        self._judge = judge
        self._log = OperatorLog()
        self._steps = 0
        self._against = ""
        self._writing: frozenset[str] = frozenset()

    def __call__(self, apply: Apply) -> None:
        """Apply one update, noting its operators."""
        fed = fed_among(self._tensors)
        self._log.begin(self._tensors)
        with self._log:
            apply()
        if not fed:
            return
        self._steps += 1
        seen = self._log.seen()
        self._writing |= seen.writing()
        against = self._judge(seen, fed)
        if against and not self._against:
            self._against = f"in update {self._steps} {against}"

    def verdict(self) -> tuple[bool, str]:
        """Return whether every update passed, and what wrote to the parameters or, of the first that failed, why."""
        if self._against or not self._steps:
            return False, self._against or "no update has been applied yet"
        return True, f"in {self._steps} updates parameters were written by {listed(self._writing)}"


class RateWatch:
    """Judges whether the groups go on holding the learning rate in the very tensors that were given."""

    def __init__(self, optimizer: TorchOptimizer, names: frozenset[str]) -> None:
        self._optimizer, self._names = optimizer.optimizer, names
        self._rates = entries_of(self._optimizer, names)
        self._steps = 0
        self._against = ""

    def __call__(self, apply: Apply) -> None:
        """Apply one update and look at the learning rates."""
        apply()
        self._steps += 1
        held = entries_of(self._optimizer, self._names)
        kept = len(held) == len(self._rates) and all(new is old for new, old in zip(held, self._rates, strict=True))
        if not (kept and all(isinstance(rate, torch.Tensor) for rate in held)) and not self._against:
            self._against = f"update {self._steps} left another learning rate than the tensor it was given: {held!r}"

    def verdict(self) -> tuple[bool, str]:
        """Return whether they are the same tensors after every update."""
        if self._against or not self._steps:
            return False, self._against or "no update has been applied yet"
        return True, f"in {self._steps} updates the learning rate was, and stayed, a tensor"


def copies_to_host(args: Iterable[Any], result: Any) -> bool:
    """Return whether an operator read a tensor on a device and left one on the host."""
    if not isinstance(result, torch.Tensor) or result.device.type != "cpu":
        return False
    return any(isinstance(each, torch.Tensor) and each.device.type != "cpu" for each in args)


def fed_among(tensors: Mapping[str, Any]) -> list[str]:
    """Return the parameters of at least one element that have a dense gradient."""
    return [
        name
        for name, tensor in tensors.items()
        if tensor.numel() and tensor.grad is not None and tensor.grad.layout is torch.strided
    ]


def written_by_loop(seen: Seen, fed: Iterable[str]) -> str:
    """Judge that parameters were written one by one; what exchanges their data instead is not seen to write."""
    several = {operator for operator in seen.writing() if _family(operator)}
    if several:
        return f"parameters were written by {listed(several)}, not one by one"
    return "" if seen.operators else "no operator ran"


def written_by_foreach(seen: Seen, fed: Iterable[str]) -> str:
    """Judge that every parameter was written by `_foreach_` operators alone."""
    return _written_by(FOREACH, seen, fed)


def written_by_fused(seen: Seen, fed: Iterable[str]) -> str:
    """Judge that every parameter was written by `_fused_` operators alone."""
    return _written_by(FUSED, seen, fed)


def waits_for_nothing(optimizer: TorchOptimizer) -> Judge:
    """Return what judges that no host waited for a device, and that the step count lives where its parameter does."""

    def judge(seen: Seen, fed: Iterable[str]) -> str:
        waited = [each for each in seen.operators if each in _WAITING or each.endswith(_TO_HOST)]
        if waited:
            return f"the host waited for {listed(waited)}"
        state = getattr(optimizer.optimizer, "state", {})
        for name in fed:
            tensor = optimizer.tensors[name]
            count = dict(state.get(tensor, {})).get("step")
            if not isinstance(count, torch.Tensor) or count.device != tensor.device:
                place = count.device if isinstance(count, torch.Tensor) else f"a {type(count).__name__}"
                return f"the step count of {name!r} was kept as {place}, not as a tensor on {tensor.device}"
        if not all(group.get("capturable") for group in groups_of(optimizer.optimizer)):
            return "a parameter group was not capturable"
        return ""

    return judge


def listed(operators: Iterable[str]) -> str:
    """Return operators for a sentence."""
    return ", ".join(sorted(operators)) or "none that was seen"


def _written_by(family: str, seen: Seen, fed: Iterable[str]) -> str:
    for name in fed:
        writers = seen.writers.get(name, frozenset())
        if not writers or any(_family(operator) != family for operator in writers):
            return f"{name!r} was written by {listed(writers)}, not by {family}* alone"
    return ""


def _family(operator: str) -> str:
    """Return `FOREACH` or `FUSED`, or nothing for an operator on single tensors."""
    own = operator.rpartition("::")[2]
    return next((family for family in (FOREACH, FUSED) if own.startswith(family)), "")

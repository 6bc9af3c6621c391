"""What a recorded PyTorch optimizer holds: its parameters under their names, its groups, and its state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .arrays import HOST_DTYPES
from .errors import NotSupported
from .host_buffers import HostBuffers
from .option_names import ALIASES
from .options import canonical_values
from .protocol import Array, Target
from .recording import GroupValues, plain_values
from .text import escape_control
from .torch_gathering import GATHERED_DTYPES, Piece, gather
from .torch_optimizer import CANONICAL_STATE
from .torch_tensors import plain_value

NAMES_OF_PARAMETERS = "param_names"
"""Under which a group holds the names that `named_parameters` gave the optimizer, from torch 2.6 on."""
_NO_HYPERPARAMETERS = ("params", NAMES_OF_PARAMETERS)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A parameter that takes part."""

    name: str
    tensor: Any
    shape: tuple[int, ...]
    """The whole tensor's."""
    dtype: str
    index: Any
    """The coordinates that are kept, int64 [k] on the parameter's device; None for all."""

    def piece(self, tensor: Any) -> Piece:
        """What is wanted of `tensor`, which has the parameter's shape."""
        return Piece(self.name, tensor, self.index)


class ParameterNames:
    """What parameters are called: as their group says, else as in `model` or `names`, else by their place.

    `model` has `named_parameters()`; `names` maps names to parameters, or is pairs of them. Raises `TypeError` for
    anything else.
    """

    def __init__(self, model: Any = None, names: Any = None) -> None:
        if model is not None and not callable(getattr(model, "named_parameters", None)):
            raise TypeError(f"model is a {type(model).__qualname__}, but should be a torch.nn.Module")
        pairs = names.items() if isinstance(names, Mapping) else () if names is None else names
        try:
            self._given = [(str(name), parameter) for name, parameter in pairs]
        except (TypeError, ValueError) as error:
            raise TypeError(f"names={names!r:.80}, but should be pairs of a name and a parameter ({error})") from error
        for name, parameter in self._given:
            if not isinstance(parameter, torch.Tensor):
                raise TypeError(f"names gives {name!r} to a {type(parameter).__qualname__}, but should to a parameter")
        self._model = model
        self._used: set[str] = set()

    def choose(self, tensors: Iterable[tuple[int, int, Any, str | None]]) -> list[str]:
        """Names for tensors, each given with number of group, place in it, and the name that the group has for it.

        A name that is taken, as where two models share an optimizer, gets the place in front.
        """
        pairs = [*self._given, *(self._model.named_parameters() if self._model is not None else ())]
        known = {id(parameter): name for name, parameter in reversed(pairs)}
        chosen = []
        for group, place, tensor, own in tensors:
            name = own or known.get(id(tensor)) or f"{group}.{place}"
            while name in self._used:
                name = f"{group}.{place}.{name}"
            self._used.add(name)
            chosen.append(name)
        return chosen


class Roster:
    """The parameters and groups of one optimizer, as they are met.

    `coordinates` gives what is kept of a tensor, by name and shape; see `Sink.coordinates`.
    """

    def __init__(
        self, names: ParameterNames, coordinates: Callable[[str, tuple[int, ...]], NDArray[np.int64] | None]
    ) -> None:
        self._names, self._coordinates = names, coordinates
        self._known: dict[int, Recorded] = {}
        self._places: list[tuple[int, ...]] = []
        self._members: list[tuple[str, ...]] = []
        self._values: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self.taking_part: tuple[Recorded, ...] = ()
        """Those that the groups hold now."""

    @property
    def known(self) -> tuple[Recorded, ...]:
        """Every parameter so far."""
        return tuple(self._known.values())

    def meet(self, optimizer: Any) -> list[Recorded]:
        """Look at the groups again; return the parameters that are new. Raises `NotSupported` for one of no use."""
        groups = optimizer.param_groups
        places = [tuple(map(id, group["params"])) for group in groups]
        if places == self._places:
            return []
        new: dict[int, tuple[int, int, Any, str | None]] = {}
        for number, group in enumerate(groups):
            own = group.get(NAMES_OF_PARAMETERS) or ()
            for place, tensor in enumerate(group["params"]):
                if id(tensor) not in self._known:
                    new.setdefault(id(tensor), (number, place, tensor, own[place] if place < len(own) else None))
        added = [
            self._recorded(name, tensor)
            for name, (*_, tensor, _) in zip(self._names.choose(new.values()), new.values(), strict=True)
        ]
        self._known |= {id(each.tensor): each for each in added}
        self._places = places
        self._members = [tuple(dict.fromkeys(self._known[at].name for at in group)) for group in places]
        self.taking_part = tuple(self._known[at] for at in dict.fromkeys(at for group in places for at in group))
        return added

    def groups(self, optimizer: Any) -> list[GroupValues]:
        """The groups with the hyperparameters that they hold now."""
        target = Target("", type(optimizer), "torch")
        self._values += [({}, {})] * (len(self._members) - len(self._values))
        found = []
        for at, (group, members) in enumerate(zip(optimizer.param_groups, self._members, strict=True)):
            held = plain_values(
                {name: plain_value(value) for name, value in group.items() if name not in _NO_HYPERPARAMETERS}
            )
            if held != self._values[at][0]:
                canonical_first = dict(sorted(held.items(), key=lambda entry: entry[0] not in ALIASES))
                self._values[at] = held, plain_values(canonical_values(target, canonical_first))
            found.append(GroupValues(members, self._values[at][1]))
        return found

    def _recorded(self, name: str, tensor: Any) -> Recorded:
        shown = escape_control(name)
        if hasattr(tensor, "__tensor_flatten__"):
            raise NotSupported(f"{shown} is a {type(tensor).__qualname__}, whose values are spread or packed elsewhere")
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in HOST_DTYPES or tensor.layout is not torch.strided:
            kind = dtype if dtype not in HOST_DTYPES else f"stored as {tensor.layout}"
            raise NotSupported(f"{shown} is {kind}, and only dense {', '.join(HOST_DTYPES)} can be recorded")
        shape = tuple(tensor.shape)
        coordinates = self._coordinates(name, shape)
        index = None if coordinates is None else torch.from_numpy(coordinates).to(tensor.device)
        return Recorded(name, tensor, shape, dtype, index)


def marks_of_state(optimizer: Any, parameters: Iterable[Recorded]) -> tuple[tuple[int, int], ...]:
    """Identity and version of every entry of the state: other ones where it was replaced, emptied or written to.

    What is written around autograd, as through `.data`, leaves no mark.
    """
    state = getattr(optimizer, "state", {})
    held = (value for each in parameters for value in (state.get(each.tensor) or {}).values())
    return tuple((id(value), _version(value)) for value in held)


def _version(value: Any) -> int:
    """How often a tensor was written to, as autograd counts; 0 where nobody counts."""
    return value._version if isinstance(value, torch.Tensor) and not value.is_inference() else 0


def state_before(optimizer: Any, parameters: Iterable[Recorded]) -> dict[str, dict[str, Array]]:
    """What the optimizer holds of each parameter: slot -> name -> array, with canonical slots, and `step`.

    `step` is the number of updates, float64; that of a parameter without any state is 0, and it is left out where the
    optimizer does not count. Of the rest what has the parameter's shape is taken, and single numbers: no factors of a
    moment, and nothing that is not finite.
    """
    state = getattr(optimizer, "state", {})
    pieces: list[Piece] = []
    slots: dict[str, dict[str, Array]] = {"step": {}}
    for each in parameters:
        held = state.get(each.tensor) or {}
        if not held:
            slots["step"][each.name] = np.array(0.0)
        for own, value in held.items():
            key = CANONICAL_STATE.get(own, str(own)), each.name
            if isinstance(value, torch.Tensor):
                if value.layout is not torch.strided or value.dtype not in GATHERED_DTYPES:
                    continue
                if tuple(value.shape) == each.shape:
                    pieces.append(Piece(key, value, each.index))
                elif value.numel() == 1:
                    pieces.append(Piece(key, value.reshape(())))
            elif isinstance(value, int | float) and not isinstance(value, bool):
                slots.setdefault(key[0], {})[each.name] = np.array(float(value))
    for (slot, name), array in gather(pieces, HostBuffers()).items():
        slots.setdefault(slot, {})[name] = array
    slots["step"] = {name: count.astype(np.float64) for name, count in slots["step"].items()}
    return {
        slot: kept
        for slot, values in slots.items()
        if "/" not in slot and (kept := {name: array for name, array in values.items() if np.isfinite(array).all()})
    }

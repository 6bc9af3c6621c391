"""What a `Layout` means, alike for every framework: its parts in order, the dtype of every parameter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .arrays import host_copies, host_dtype
from .errors import NotSupported
from .protocol import Array, Layout, Target
from .signatures import signature_of
from .text import escape_control

ACCUMULATION_OPTIONS = (
    "gradient_accumulation_steps",
    "grad_accumulation_steps",
    "accumulation_steps",
    "accumulate_steps",
    "accumulate",
)
"""Constructor options that mean "update once in so many steps, with the mean gradient", in the order tried."""


@dataclass(frozen=True, slots=True)
class Part:
    """Parameters that are handed over together, alike in all that a layout says of them."""

    names: tuple[str, ...]
    undecayed: bool


def lists_of(layout: Layout, names: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """Return the parameters by group, one group of all for a layout without groups.

    Raises `ValueError` where a parameter is in no group or in more than one, and where a group, `dtypes` or
    `undecayed` names what is no parameter.
    """
    every = tuple(names)
    counts = Counter(name for group in layout.groups for name in group)
    problems = {
        "no parameter": sorted({*counts, *layout.dtypes, *layout.undecayed} - set(every)),
        "in no group": [name for name in every if layout.groups and not counts[name]],
        "in more than one group": sorted(name for name, count in counts.items() if count > 1),
    }
    found = "; ".join(f"{what}: {', '.join(map(repr, wrong))}" for what, wrong in problems.items() if wrong)
    if found:
        raise ValueError(f"a layout must name every parameter in one group, and parameters only ({found}).")
    return layout.groups or (every,)


def parts_of(layout: Layout, names: Iterable[str]) -> tuple[Part, ...]:
    """Return the groups, each split where it holds undecayed parameters: those that are decayed come first.

    Raises `ValueError` as `lists_of` does.
    """
    parts = [
        Part(tuple(name for name in group if (name in layout.undecayed) is undecayed), undecayed)
        for group in lists_of(layout, names)
        for undecayed in (False, True)
    ]
    return tuple(part for part in parts if part.names)


def dtypes_of(layout: Layout, names: Iterable[str], dtype: str) -> dict[str, str]:
    """Return the dtype of every parameter: the layout's, else `dtype`. Raises `ValueError` for an unknown one."""
    found = {name: layout.dtypes.get(name, dtype) for name in names}
    for wanted in {dtype, *found.values()}:
        host_dtype(wanted)
    return found


def copies_in(arrays: Mapping[str, Array], dtypes: Mapping[str, str]) -> dict[str, Array]:
    """Return contiguous copies, each in its own dtype, as `host_copies` makes them."""
    return {name: host_copies({name: array}, dtypes[name])[name] for name, array in arrays.items()}


def accumulation_options(target: Target, layout: Layout) -> dict[str, int]:
    """Return the constructor option that asks for the layout's accumulation, nothing where it asks for none.

    Raises `NotSupported` where the target has no such option.
    """
    if layout.accumulate == 1:
        return {}
    return {option_among(target, ACCUMULATION_OPTIONS, "accumulates gradients"): layout.accumulate}


def option_among(target: Target, names: Sequence[str], purpose: str) -> str:
    """Return the first of `names` that is an option of the target's constructor.

    Raises `NotSupported` where none is; `purpose` completes "... has no option that".
    """
    options = signature_of(target).defaults
    found = next((name for name in names if name in options), None)
    if found is None:
        spec = escape_control(target.spec)
        raise NotSupported(f"{spec} has no option that {purpose} (looked for {', '.join(names)}).")
    return found

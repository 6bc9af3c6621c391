"""Between canonical hyperparameters and the options of one target's constructor."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from .errors import TargetError, UnknownOption
from .option_names import ALIASES, PAIRS, SPELLINGS, Element
from .protocol import Target
from .recipes import recipe_of
from .signatures import REQUIRED, Signature, signature_of
from .text import escape_control


def accepts(target: Target, canonical: str) -> bool:
    """Return whether the constructor has an option for `canonical` (or for any own name)."""
    return _place(target, canonical, signature_of(target)) is not None


def own_name(target: Target, canonical: str) -> str | None:
    """Return the option that takes `canonical` whole, or None where there is none (or only in a tuple)."""
    place = _place(target, canonical, signature_of(target))
    return place if isinstance(place, str) else None


def default_of(target: Target, canonical: str) -> Any:
    """Return the constructor's default for `canonical`, or None where it has none to show."""
    signature = signature_of(target)
    place = _place(target, canonical, signature)
    if place is None:
        return None
    if isinstance(place, Element):
        values = signature.defaults.get(place.option)
        return values[place.index] if isinstance(values, tuple | list) and len(values) > place.index else None
    default = signature.defaults.get(place)
    return None if default is REQUIRED else default


def constructor_arguments(target: Target, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments that give `hyperparameters` to the target's constructor.

    Names are canonical or the target's own; `target.renamed` wins over the aliases. `beta1` alone on a
    target with `betas` keeps the default of the other. A pair (`betas=(b1, b2)`) is split for a target
    that takes its elements. What the target's recipe gives and the user does not is added. Raises
    `UnknownOption` with the options there are, and `TargetError` where one option is given twice.
    """
    signature = signature_of(target)
    arguments: dict[str, Any] = {}
    elements: dict[str, dict[int, Any]] = {}
    given_as: dict[str | Element, str] = {}
    for name, value in _without_pairs(target, hyperparameters, signature).items():
        place = _place(target, name, signature)
        if place is None:
            raise UnknownOption(_unknown(target, name, signature))
        if place in given_as:
            raise TargetError(
                f"{_shown(target)}: {given_as[place]!r} and {name!r} are the same "
                f"option ({_spelled(place)}); give one of them."
            )
        given_as[place] = name
        if isinstance(place, Element):
            elements.setdefault(place.option, {})[place.index] = value
        else:
            arguments[place] = value
    for option, values in elements.items():
        arguments[option] = _completed(target, option, values, arguments, signature)
    return {**recipe_of(target).options, **arguments}


def canonical_hyperparameters(target: Target, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return `hyperparameters` with those under their canonical name that were given under the target's own.

    `learning_rate` becomes `lr` where that is the option `lr` means; a pair (`betas`) stays one. For names
    that `constructor_arguments` takes.
    """
    signature = signature_of(target)
    canonical = {place: name for name in ALIASES if (place := _place(target, name, signature)) is not None}
    places = {name: _place(target, name, signature) for name in hyperparameters}
    return {
        name if (place := places[name]) is None else canonical.get(place, name): value
        for name, value in hyperparameters.items()
    }


def canonical_values(target: Target, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values`, keyed by the target's own option names, under canonical names.

    Tuple-valued options that have canonical elements are split; names without a canonical one stay.
    """
    own_to_canonical = {own: canonical for canonical, names in ALIASES.items() for own in names if own in values}
    own_to_canonical |= {own: canonical for canonical, own in target.renamed.items()}
    result: dict[str, Any] = {}
    for own, value in values.items():
        pair = PAIRS.get(own)
        if pair is not None and own not in own_to_canonical and isinstance(value, tuple | list) and len(value) >= 2:
            result |= dict(zip(pair, value, strict=False))
        else:
            result.setdefault(own_to_canonical.get(own, own), value)
    return result


def held_values(target: Target, arguments: Mapping[str, Any], holder: Any = None) -> dict[str, Any]:
    """Return every option's value, canonically named: as `holder` has it, else as given, else the default.

    `holder` is the built object; an option counts as held where an attribute of it (or the same with a
    leading underscore) bears the option's name and is a value: no method, no dictionary of buffers. Options
    that a factory hides are looked for under their aliases.
    """
    known = {name: value for name, value in signature_of(target).defaults.items() if value is not REQUIRED}
    known |= arguments
    held = canonical_values(target, {name: _attribute_of(holder, name, default) for name, default in known.items()})
    for canonical, names in ALIASES.items():
        found = [_attribute_of(holder, name, None) for name in names if isinstance(name, str)]
        if canonical not in held and any(value is not None for value in found):
            held[canonical] = next(value for value in found if value is not None)
    return held


def names_of(target: Target, *canonical: str) -> frozenset[str]:
    """Return every plain name under which the target may keep the canonical hyperparameters."""
    aliases = {name for wanted in canonical for name in ALIASES[wanted] if isinstance(name, str)}
    return frozenset(aliases | {own for wanted, own in target.renamed.items() if wanted in canonical})


def names_in_order(target: Target, canonical: str) -> tuple[str, ...]:
    """Return the names of `names_of` for one hyperparameter: the target's own option first, then the usual ones."""
    own, names = own_name(target, canonical), names_of(target, canonical)
    usual = [name for name in ALIASES[canonical] if isinstance(name, str)]
    return tuple(name for name in dict.fromkeys((own, *usual, *sorted(names))) if name is not None)


def without_unaccepted_lr(target: Target, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return `hyperparameters`, less `lr` if the constructor has no such option: every step is told its own."""
    drop = "lr" in hyperparameters and not accepts(target, "lr")
    return {name: value for name, value in hyperparameters.items() if not (drop and name == "lr")}


def lacking_hint(target: Target, arguments: Mapping[str, Any]) -> str:
    """Return the end of a constructor's error message: which options without a default `arguments` leave out.

    It is empty where there are none. A subclass may fill what its base class requires, so this is no proof.
    """
    defaults = signature_of(target).defaults
    lacking = [name for name, value in defaults.items() if value is REQUIRED and name not in arguments]
    if not lacking:
        return ""
    return f" (without a default and not given: {', '.join(map(escape_control, lacking))}; use --set NAME=VALUE)"


def _attribute_of(holder: Any, name: str, default: Any) -> Any:
    """Return the holder's attribute `name` or `_name` if it is a value, else `default`."""
    for attribute in (name, f"_{name}"):
        value = getattr(holder, attribute, None)
        if value is not None and not callable(value) and not isinstance(value, Mapping):
            return value
    return default


def _place(target: Target, name: str, signature: Signature) -> str | Element | None:
    """Return the option (or the element of one) that takes `name`, None if there is no such option."""
    if name in target.renamed:
        mapped = target.renamed[name]
        return mapped if mapped in signature.defaults or signature.open else None
    candidates: tuple[str | Element, ...] = ALIASES.get(name, (name,))
    for own in candidates:
        if (own.option if isinstance(own, Element) else own) in signature.defaults:
            return own
    if name in signature.defaults:
        return name
    return SPELLINGS.get(target.framework, {}).get(name, name) if signature.open else None


def _without_pairs(target: Target, hyperparameters: Mapping[str, Any], signature: Signature) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in hyperparameters.items():
        pair = PAIRS.get(name)
        if pair is None or name in signature.defaults or signature.open or _place(target, pair[0], signature) is None:
            result[name] = value
        elif isinstance(value, tuple | list) and len(value) == len(pair):
            result |= dict(zip(pair, value, strict=True))
        else:
            raise TargetError(f"{_shown(target)}: {name}={value!r} should be a pair, ({', '.join(pair)}).")
    return result


def _completed(
    target: Target, option: str, values: Mapping[int, Any], arguments: Mapping[str, Any], signature: Signature
) -> tuple[Any, ...]:
    """Return the whole tuple for an option of which some elements are given."""
    if option in arguments:
        raise TargetError(f"{_shown(target)}: {option} is given as a whole and by element; give one of them.")
    default = signature.defaults.get(option)
    base = list(default) if isinstance(default, tuple | list) else []
    missing = [index for index in range(len(PAIRS[option])) if index not in values and index >= len(base)]
    if missing:
        names = ", ".join(PAIRS[option][index] for index in missing)
        raise TargetError(f"{_shown(target)}: {option} has no default to complete; give {names} too.")
    size = max(len(base), len(PAIRS[option]))
    return tuple(values[index] if index in values else base[index] for index in range(size))


def _unknown(target: Target, name: str, signature: Signature) -> str:
    options = list(signature.defaults)
    meant = next((canonical for canonical, names in ALIASES.items() if name in names), None)
    if meant is not None and name != meant and _place(target, meant, signature) is not None:
        close = [meant]
    else:
        close = get_close_matches(name, [*options, *(key for key in ALIASES if _place(target, key, signature))], n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    remap = f" Say which one it is with --map {name}=NAME." if name in ALIASES else ""
    return (
        f"{_shown(target)} has no option {name!r}; "
        f"it accepts: {', '.join(map(escape_control, options)) or 'none'}.{hint}{remap}"
    )


def _spelled(place: str | Element) -> str:
    return f"{place.option}[{place.index}]" if isinstance(place, Element) else place


def _shown(target: Target) -> str:
    return escape_control(target.spec)

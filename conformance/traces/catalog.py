"""Traces by name: those that ship with the package, synthetic and generated ones, and directories."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from ..addresses import is_address, without_file
from .errors import TraceError
from .generated import FORM, generated_trace
from .generated import PREFIX as GENERATED_PREFIX
from .index import INDEX_FILE
from .opening import open_trace
from .synthetic import KINDS, synthetic_trace
from .trace import Trace

SHIPPED_FOLDER = Path(__file__).parent / "shipped"

SHIPPED: Mapping[str, str] = MappingProxyType(
    {
        "digits_mlp": "a 64-16-10 network on handwritten digits, trained in PyTorch",
        "digits_cnn": "a small convolutional network with batch norm, warm-up and cosine schedule, trained in Keras",
        "char_transformer": "a small character transformer with tied embeddings, trained in JAX with Optax",
        "mixed_precision": "a 64-12-10 network trained in PyTorch with float16 autocast; it skipped 3 overflowed steps",
        "word_embedding": "next-word prediction trained in PyTorch, with an embedding whose gradients are sparse",
        "separating": "found by search: 12 coordinates over 6 steps on which the rules and their forms part most",
    }
)
"""Name of each trace that ships with the package -> one line about it."""

DEFAULT = ("digits_mlp", "digits_cnn", "char_transformer")
"""The shipped traces that targets are judged on where none is named: of training runs, one from each framework."""

SYNTHETIC_PREFIX = "synthetic"


def shipped_names() -> tuple[str, ...]:
    """The names of the traces that ship with the package."""
    return tuple(SHIPPED)


def default_names() -> tuple[str, ...]:
    """The names of the shipped traces that targets are judged on where none is named."""
    return DEFAULT


def find_trace(name_or_path: str | os.PathLike[str], *, verify: bool = True) -> Trace:
    """The trace that `name_or_path` stands for.

    That is the name of a shipped trace, `synthetic:KIND` or `synthetic:KIND:SEED`, `generated:SIZE[:SEED[:STEPS]]`, or
    the path or the address (`https://...`, `s3://...`) of a trace directory (also of its `index.json`); a directory
    that bears a shipped trace's name is reached as `./NAME`. Directories are verified in full unless `verify` is false.
    Raises `TraceError`; for an unknown name it lists the known ones and suggests the nearest.
    """
    text = os.fspath(name_or_path)
    if text in SHIPPED:
        return open_trace(SHIPPED_FOLDER / text, verify=verify)
    if text.split(":", 1)[0] == SYNTHETIC_PREFIX:
        return _synthetic(text)
    if text.split(":", 1)[0] == GENERATED_PREFIX:
        return generated_trace(text)
    if is_address(text):
        return open_trace(without_file(text, INDEX_FILE), verify=verify)
    path = Path(text)
    if path.name == INDEX_FILE and path.is_file():
        path = path.parent
    if text and os.path.lexists(path):
        return open_trace(path, verify=verify)
    known = [*SHIPPED, *(f"{SYNTHETIC_PREFIX}:{kind}" for kind in KINDS), FORM]
    close = difflib.get_close_matches(text, known, n=1)
    raise TraceError(
        text,
        "neither a trace of this name nor a directory",
        f"one of {', '.join(known)}, or the path or address of a trace",
        f"Did you mean '{close[0]}'?" if close else "Check the spelling, or the directory you are in.",
    )


def _synthetic(text: str) -> Trace:
    _, kind, seed = (*text.split(":", 2), "", "")[:3]
    if seed and not (seed.isascii() and seed.isdigit() and len(seed) <= 18):
        raise TraceError(text, "a seed that is no number", "synthetic:KIND[:SEED]", "Give digits only, at most 18.")
    return synthetic_trace(kind, seed=int(seed or "0"))

"""The arithmetics that the bound's tests run in, each as the reference's assumption and as a machine that meets it."""

from __future__ import annotations

import itertools

from rounded_numbers import Machine

from optconform.reference.arithmetic import arithmetic

ARITHMETICS = {  # name: (storage, working, scalars)
    "float64": ("float64", "float64", "float64"),
    "float32": ("float32", "float32", "float32"),
    "bfloat16": ("bfloat16", "bfloat16", "float32"),
    "float16": ("float16", "float16", "float32"),
    "bfloat16 stored, float32 work": ("bfloat16", "float32", "float32"),
    "float16 stored, float32 work": ("float16", "float32", "float32"),
}


def assumed(name):
    """Return the reference's `Arithmetic`."""
    storage, working, scalars = ARITHMETICS[name]
    return arithmetic(storage, working=working, scalars=scalars)


def machines(name, *, host_scalars=False, push=None, fuses=False):
    """Return (machine, scalars, storage) for `Implementation`."""
    storage, working, scalars = ARITHMETICS[name]
    push = push or itertools.repeat(None)
    return (
        Machine(working, push, fuses),
        None if host_scalars else Machine(scalars, push),
        None if storage == working else Machine(storage, push),
    )

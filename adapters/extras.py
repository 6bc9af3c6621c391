"""What this package can do with packages beside the core and the frameworks, as data. Nothing is imported here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Extra:
    """One extra of this package, and what has to be there: a `frameworks.Needed`."""

    name: str
    imports: tuple[str, ...]
    """Top-level modules that must all be there."""
    gives: str
    """What works with it, and does not without."""

    @property
    def install_command(self) -> str:
        """The command that installs it."""
        return f"pip install 'optconform[{self.name}]'"


EXTRAS = (
    Extra("fast", ("numba",), "the compiled replay engine of the reference"),
    Extra("report", ("jinja2", "plotly"), "reports as HTML"),
    Extra("remote", ("fsspec", "aiohttp"), "traces behind an address"),
    Extra("device", ("array_api_compat",), "the reference and its bound on PyTorch tensors, where they live"),
)
"""In the order of pyproject.toml."""

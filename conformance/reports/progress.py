"""Progress on long work: a bar on standard error while it is a terminal, nothing otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .console import make_console

_Item = TypeVar("_Item")


def tracked(items: Iterable[_Item], titles: Sequence[str]) -> Iterator[_Item]:
    """Yield `items`, of which there are as many as `titles`, showing the title of the one under way."""
    console = make_console(stderr=True)
    if not console.is_terminal:
        yield from items
        return
    columns = (MofNCompleteColumn(), BarColumn(20), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(titles[0] if titles else "", total=len(titles))
        for done, item in enumerate(items, start=1):
            progress.update(task, completed=done, description=titles[done] if done < len(titles) else "")
            yield item

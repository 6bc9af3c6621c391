"""Progress on long work: a bar on standard error while it is a terminal that can redraw, nothing otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self, TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ...adapters.text import escape_control
from .console import make_console

_Item = TypeVar("_Item")
_INTERVAL = 0.1
"""Seconds between two steps that are shown: drawing costs about a millisecond, a step of a small replay less."""


class Bar:
    """How many of several pieces of work are done, the title of the one under way, and its step."""

    def __init__(self, titles: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        console = make_console(stderr=True)
        columns = (
            MofNCompleteColumn(),
            BarColumn(20),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
            TextColumn("{task.fields[step]}", markup=False),
        )
        self._titles = titles = [escape_control(title) for title in titles]
        self._clock = clock
        self._next_shown = clock()
        silent = not console.is_terminal or console.is_dumb_terminal
        self._progress = Progress(*columns, console=console, transient=True, disable=silent)
        self._task = self._progress.add_task(titles[0] if titles else "", total=len(titles), step="")

    def __enter__(self) -> Self:
        """Show the bar."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away, however the work ended."""
        self._progress.stop()

    def each(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """Yield `items`, of which there are as many as titles, counting each as done."""
        for done, item in enumerate(items, start=1):
            title = self._titles[done] if done < len(self._titles) else ""
            self._progress.update(self._task, completed=done, description=title, step="")
            yield item

    def step(self, number: int) -> None:
        """Show the step that a replay has reached, unless one was shown a moment ago.

        The bar is drawn here and not left to its own thread, which a replay of small steps keeps from running.
        """
        if (now := self._clock()) >= self._next_shown:
            self._next_shown = now + _INTERVAL
            self._progress.update(self._task, step=f"step {number:,}", refresh=True)

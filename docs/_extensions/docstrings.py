"""Docstrings are plain prose with `code` and *titles*; Sphinx reads reStructuredText. This turns one into the other.

In a formula `*` multiplies, `|x|` is a modulus and `v_` an index: left alone, reStructuredText takes them for markup,
mostly without a warning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

CODE_OR_TITLE = re.compile(r"(?P<code>`[^`]+`)|(?P<title>(?<!\S)\*\w[^*]*\w\*(?!\w))")
MARKUP = re.compile(r"[\\*|]|_(?!\w)")


def to_rest(text: str) -> str:
    """Return prose as reStructuredText: code spans doubled, titles kept, everything else taken literally."""
    pieces = []
    end = 0
    for match in CODE_OR_TITLE.finditer(text):
        pieces.append(MARKUP.sub(r"\\\g<0>", text[end : match.start()]))
        # A code span may be followed by a letter (`theta`s), which reStructuredText allows only after an escaped blank.
        pieces.append(
            match["title"] or f"`{match['code']}`" + ("\\ " if text[match.end() : match.end() + 1].isalnum() else "")
        )
        end = match.end()
    return "".join(pieces) + MARKUP.sub(r"\\\g<0>", text[end:])


def paragraphs(lines: list[str]) -> Iterator[str]:
    """Yield the paragraphs, each with the empty line after it."""
    yield from re.split(r"(?<=\n\n)", "\n".join(lines))


def convert(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Rewrite the lines of one docstring in place. Examples (`>>>`) stay as they are, indented paragraphs are code."""
    lines[:] = "".join(map(_converted, paragraphs(lines))).split("\n")


def _converted(paragraph: str) -> str:
    if paragraph.lstrip().startswith(">>>"):
        return paragraph
    return f"::\n\n{paragraph}" if paragraph.startswith("    ") else to_rest(paragraph)


def setup(app: Sphinx) -> dict[str, bool]:
    """Come before napoleon (500), which turns sections into markup that must stay."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", convert, priority=400)
    return {"parallel_read_safe": True}

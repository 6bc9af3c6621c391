"""Text on streams that cannot hold all of it: known signs become words, any other an escape; nothing raises.

Pipes and files on Windows have the code page of the system (cp1252, cp437, cp932), a C locale has ASCII.
"""

from __future__ import annotations

import codecs
from typing import TextIO

ERRORS = "optconform.spelled"
"""Name under which `prepare` registers what is done with a character that an encoding lacks."""

_WORDS = str.maketrans(
    {
        "\u03b1": "alpha",
        "\u03b2": "beta",
        "\u03b3": "gamma",
        "\u03b4": "delta",
        "\u0394": "Delta",
        "\u03b5": "epsilon",
        "\u03b7": "eta",
        "\u03b8": "theta",
        "\u03bb": "lambda",
        "\u03bc": "mu",
        "\u00b1": "+-",
        "\u00b7": "*",
        "\u00d7": "x",
        "\u2013": "-",
        "\u2014": "-",
        "\u2018": "'",
        "\u2019": "'",
        "\u201c": '"',
        "\u201d": '"',
        "\u2026": "...",
        "\u2190": "<-",
        "\u2192": "->",
        "\u221e": "inf",
        "\u2264": "<=",
        "\u2265": ">=",
        "\u2500": "-",
    }
)
"""Signs of the field, and of typography, with what is read in their place."""


def is_unicode(encoding: str | None) -> bool:
    """Whether `encoding` holds every character; of any other not even the signs that it holds are used.

    cp932 holds a theta of two columns and cp437 a few Greek letters: text that keeps to ASCII is aligned in all.
    """
    return (encoding or "").lower().replace("_", "-").startswith("utf")


def spelled(text: str, encoding: str | None) -> str:
    r"""Return `text` so that it can be written in `encoding`, and takes as many columns as it has characters there.

    >>> print(spelled("\u03b8 \u2192 \u03bb\u00b7\u03b8 \u4e2d", "ascii"))
    theta -> lambda*theta \u4e2d
    """
    if is_unicode(encoding):
        return text
    known = encoding or "ascii"
    return text.translate(_WORDS).encode(known, "backslashreplace").decode(known)


def _spell(error: UnicodeError) -> tuple[str, int]:
    """Replace the characters that an encoding lacks, as `codecs.register_error` has it."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return spelled(lacking, "ascii"), error.end


def prepare(stream: TextIO | None) -> None:
    """Let `stream` write what its encoding lacks as words or escapes; one that cannot be told stays as it is."""
    codecs.register_error(ERRORS, _spell)
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors=ERRORS)

"""Text from elsewhere, made safe to print, and counts in words."""

from __future__ import annotations

import unicodedata

_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories that steer a terminal or reorder a line: control, format, surrogate, separators."""


_LONGEST = 20_000
"""Characters of a message that are shown; compilers write some thousands."""


def escape_control(text: str) -> str:
    r"""Return `text` with every control and format character written as a Python escape.

    Names and messages come from files that nobody has checked, and go to terminals, JSON and XML.
    Letters of every script stay as they are.

    >>> escape_control("w\x1b[31m\n")
    'w\\x1b[31m\\n'
    """
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in _UNSAFE_CATEGORIES
        else character
        for character in text
    )


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, in the plural where there is not one.

    >>> counted(1, "optimizer"), counted(1200, "element")
    ('1 optimizer', '1,200 elements')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def describe_error(error: BaseException) -> str:
    """Return `TypeName: message` for an exception of somebody else's, escaped.

    An exception whose own `str` raises is described by its type alone; of a long message the beginning is shown.
    """
    try:
        message = str(error)
    except (Exception, SystemExit):
        message = ""
    if len(message) > _LONGEST:
        message = f"{message[:_LONGEST]}... ({len(message)} characters)"
    name = type(error).__name__
    return escape_control(f"{name}: {message}" if message else name)

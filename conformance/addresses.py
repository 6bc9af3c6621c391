"""Addresses of what lies elsewhere, `scheme://...`: told from paths, and shown without what must stay secret.

Nothing here imports NumPy: the command line shows addresses too.
"""

from __future__ import annotations

import re

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]+://")
"""A scheme has two characters at least: `C://traces` is a path."""


def is_address(text: str) -> bool:
    """Whether `text` is the address of something elsewhere, and no path."""
    return _ADDRESS.match(text) is not None


def shown(text: str) -> str:
    """`text`, where it is an address, without user, password, query and fragment: tokens are given in those."""
    return "::".join(map(_shown_part, text.split("::"))) if is_address(text) else text


def below(address: str, name: str) -> str:
    """The address of the file `name` below `address`; the query of a web address stays at its end."""
    scheme = address.partition("://")[0]
    path, mark, query = address.partition("?") if scheme in ("http", "https") else (address, "", "")
    return f"{path.rstrip('/')}/{name}{mark}{query}"


def without_file(address: str, name: str) -> str:
    """`address`, or where it is that of the file `name`, the address of the folder that it lies in."""
    path, mark, query = address.partition("?")
    return path.removesuffix(f"/{name}") + mark + query


def _shown_part(part: str) -> str:
    scheme, mark, rest = part.partition("://")
    if not mark:
        return part
    host, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"

"""`python -m optconform`: the whole command line, without the current directory on the import path.

Here, above all packages, the commands of the upper ones are added to those of `conformance`.

`python -m` puts the current directory first. In the repository's root that would make its folders `adapters`
and `tests` importable and hide the user's libraries of the same names; the `optconform` script does not do it either.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

_ADDED = {"gate": (f"{__package__}.gpu_ci.cli", "gate")}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, that of this process unless `arguments` are given, and return its exit status."""
    from .conformance.cli.main import main as run

    return run(arguments, _ADDED)


if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]
    sys.exit(main())

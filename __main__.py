"""`python -m optconform`: the command line, without the current directory on the import path.

`python -m` puts the current directory first. In the repository's root that would make its folders `adapters`
and `tests` importable and hide the user's libraries of the same names; the `optconform` script does not do it either.
"""

from __future__ import annotations

import sys


def _run() -> None:
    if not sys.flags.safe_path:
        del sys.path[0]
    from .conformance.cli.main import main

    sys.exit(main())


if __name__ == "__main__":
    _run()

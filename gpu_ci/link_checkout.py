"""Make this checkout importable as `optconform` where it cannot be installed.

The repository's root is the package, so a link named `optconform` to it, in a folder on PYTHONPATH, is enough:

    eval "$(python gpu_ci/link_checkout.py)"
    python -m optconform doctor

This file is run as a script, on a machine that may have nothing but Python: it imports the standard library alone.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


def link_checkout(folder: Path, checkout: Path = CHECKOUT) -> Path:
    """Put a link named `optconform` to `checkout` into `folder`, and return the link.

    The folder is made where it is missing. A link that is already right is left alone.

    Raises:
        FileExistsError: something else bears the name `optconform` in `folder`.
        OSError: the folder or the link cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    link = folder.absolute() / "optconform"
    if link.is_symlink() and link.resolve() == checkout.resolve():
        return link
    if link.is_symlink() or link.exists():
        raise FileExistsError(
            f"{link} exists and is not a link to {checkout}; choose another folder, or remove it if it is not needed"
        )
    link.symlink_to(checkout.resolve(), target_is_directory=True)
    return link


def pythonpath_line(folder: Path) -> str:
    """Return the shell line that puts `folder` first on PYTHONPATH and keeps what is there."""
    return f"export PYTHONPATH={shlex.quote(str(folder.absolute()))}${{PYTHONPATH:+{os.pathsep}$PYTHONPATH}}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the link and print the line for the shell. Returns the exit status: 0, or 2 when the link cannot be made."""
    parser = argparse.ArgumentParser(
        description="Make this checkout importable as optconform without installing it; prints a line for the shell."
    )
    parser.add_argument(
        "folder", nargs="?", type=Path, help="where the link is put (default: a new temporary folder of your own)"
    )
    folder = parser.parse_args(arguments).folder or Path(tempfile.mkdtemp(prefix="optconform-"))
    try:
        link_checkout(folder)
    except OSError as error:
        print(f"link_checkout: {error}", file=sys.stderr)
        return 2
    print(pythonpath_line(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())

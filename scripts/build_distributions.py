"""Build the source distribution and the wheel as for a release, and compare them with the checkout.

    python scripts/build_distributions.py DESTINATION

The sources are copied first, without anything that git ignores: a `build/` or an `*.egg-info` left from earlier would
put deleted files back. `python -m build` makes the source distribution, and the wheel from that. The source
distribution has to hold every file of the checkout, and its wheel the same files as one built from the checkout.
What is wrong goes to standard error, with exit status 1. The packages `build` and `setuptools` have to be installed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

CHECKOUT = Path(__file__).resolve().parents[1]
MADE_BY_THE_BUILD = ("PKG-INFO", "setup.cfg", "*.egg-info/*")
"""What a source distribution holds beside the sources."""

Files = Mapping[str, bytes]
"""Contents by path."""


def export(destination: Path) -> Path:
    """Copy the checkout to `destination`, which must not be there yet, without what git ignores; return it."""
    lines = (CHECKOUT / ".gitignore").read_text(encoding="utf-8").split()
    # Plain names and plain paths, which is what `Path.match` understands. `.git` is a folder or, in a worktree, a file.
    patterns = (".git", *(line.rstrip("/") for line in lines))

    def ignored(folder: str, names: list[str]) -> set[str]:
        return {name for name in names if any(Path(folder, name).match(pattern) for pattern in patterns)}

    return Path(shutil.copytree(CHECKOUT, destination, ignore=ignored))


def files_of_folder(folder: Path) -> Files:
    """Every file below `folder`."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def files_of_sdist(sdist: Path) -> Files:
    """Every file of a source distribution that is no folder's, without the folder that all of them lie in."""
    with tarfile.open(sdist) as archive:
        members = {member.name: archive.extractfile(member) for member in archive.getmembers() if member.isfile()}
        return {name.partition("/")[2]: file.read() for name, file in members.items() if file is not None}


def files_of_wheel(wheel: Path) -> Files:
    """Every file of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}


def sources_in(files: Files) -> Files:
    """Those of `files` that were not made by building a source distribution: its checkout may be an unpacked one."""
    return {
        name: content
        for name, content in files.items()
        if not any(PurePosixPath(name).match(pattern) for pattern in MADE_BY_THE_BUILD)
    }


def differences(found: Files, expected: Files, what: str, remedy: str) -> list[str]:
    """One line for each file that `found`, called `what`, lacks, has too many, or has with another content."""
    return [
        f"{what}: {name} {_how(found.get(name), expected.get(name))}. {remedy}"
        for name in sorted(found.keys() | expected.keys())
        if found.get(name) != expected.get(name)
    ]


def _how(found: bytes | None, expected: bytes | None) -> str:
    if found is None:
        return "is missing"
    return "is not in the checkout" if expected is None else "is not the checkout's"


def compare(sources: Path, sdist: Path, wheel: Path, wheel_of_checkout: Path) -> list[str]:
    """What is wrong with `sdist`, built from the folder `sources`, and `wheel`, built from `sdist`; a line for each."""
    return [
        *differences(
            sources_in(files_of_sdist(sdist)),
            sources_in(files_of_folder(sources)),
            sdist.name,
            "Name it in MANIFEST.in, or if it is no part of the project, in .gitignore.",
        ),
        *differences(
            files_of_wheel(wheel),
            files_of_wheel(wheel_of_checkout),
            wheel.name,
            "The wheel of the source distribution and that of the checkout must be the same.",
        ),
    ]


def build(source: Path, destination: Path, *options: str) -> None:
    """Run `python -m build` with the packages at hand, from a folder without any that could hide them.

    Raises `CalledProcessError` where that fails, after showing what it printed.
    """
    words = (sys.executable, "-m", "build", "--no-isolation", *options, "--outdir", str(destination), str(source))
    done = subprocess.run(words, cwd=source.parent, check=False, capture_output=True, text=True)
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
        done.check_returncode()


def only(folder: Path, pattern: str) -> Path:
    """The one file of that pattern. Raises `ValueError` where there are several or none."""
    (file,) = folder.glob(pattern)
    return file


def main(arguments: list[str] | None = None) -> int:
    """Build both into the folder that is asked for, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("destination", type=Path, help="folder for both files: a new or an empty one")
    destination: Path = parser.parse_args(arguments).destination.resolve()
    if destination.exists() and any(destination.iterdir()):
        parser.error(f"{destination} is not empty, expected a new or an empty folder: remove what lies in it")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        sources = export(work / "sources")
        # Building leaves folders behind, so each one has a copy of its own.
        build(Path(shutil.copytree(sources, work / "sdist")), destination)
        build(Path(shutil.copytree(sources, work / "wheel")), work / "direct", "--wheel")
        sdist, wheel = only(destination, "*.tar.gz"), only(destination, "*.whl")
        wrong = compare(sources, sdist, wheel, only(work / "direct", "*.whl"))
    for line in wrong:
        print(line, file=sys.stderr)
    if wrong:
        return 1
    print(f"{sdist.name} holds every file of the checkout; {wheel.name} is the one that the checkout gives")
    return 0


if __name__ == "__main__":
    sys.exit(main())

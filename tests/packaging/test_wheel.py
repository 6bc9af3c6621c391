"""The wheel holds the package's folders, all of them, and nothing else."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import optconform

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDERS = ("reference", "adapters", "conformance", "gpu_ci")
ROOT_FILES = ("__init__.py", "__main__.py", "_version.py", "py.typed")
BUILD_FILES = ("pyproject.toml", "README.md", "LICENSE")
# The patterns of .gitignore are plain names, which is what `shutil.ignore_patterns` understands.
IGNORED = shutil.ignore_patterns(
    *(line.rstrip("/") for line in (CHECKOUT / ".gitignore").read_text(encoding="utf-8").split())
)


def clean_export(destination: Path) -> Path:
    """Copy what a build reads, without anything that git ignores."""
    destination.mkdir()
    for name in (*ROOT_FILES, *BUILD_FILES):
        shutil.copy2(CHECKOUT / name, destination / name)
    for folder in FOLDERS:
        shutil.copytree(CHECKOUT / folder, destination / folder, ignore=IGNORED)
    return destination


def build_wheel(source: Path, destination: Path) -> Path:
    """Call the build backend as pip does, with the setuptools at hand instead of a download."""
    destination.mkdir()
    subprocess.run(
        [sys.executable, "-c", f"from setuptools.build_meta import build_wheel; build_wheel({str(destination)!r})"],
        cwd=source,
        check=True,
        capture_output=True,
    )
    (wheel,) = destination.glob("*.whl")
    return wheel


def files_of_folders(root: Path) -> set[str]:
    """What the package is meant to hold: every file of its folders."""
    inside = (path for folder in FOLDERS for path in (root / folder).rglob("*") if path.is_file())
    return {f"optconform/{name}" for name in ROOT_FILES} | {
        f"optconform/{path.relative_to(root).as_posix()}" for path in inside
    }


def is_metadata(name: str) -> bool:
    return name.split("/")[0].endswith(".dist-info")


def recorded_files(wheel: Path) -> set[str]:
    """What RECORD lists, without the metadata. RECORD must list what the archive holds."""
    with zipfile.ZipFile(wheel) as archive:
        (record,) = (name for name in archive.namelist() if name.endswith(".dist-info/RECORD"))
        listed = {line.rsplit(",", 2)[0] for line in archive.read(record).decode("utf-8").splitlines()}
        assert listed == set(archive.namelist())
    return {name for name in listed if not is_metadata(name)}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    return build_wheel(clean_export(folder / "export"), folder / "dist")


def test_record_equals_the_folders(wheel, tmp_path):
    export = clean_export(tmp_path / "export")
    assert recorded_files(wheel) == files_of_folders(export)


def test_only_optconform_reaches_site_packages(wheel):
    # `adapters` is a library of its own on the package index: a folder of that name would overwrite it.
    assert {name.split("/")[0] for name in recorded_files(wheel)} == {"optconform"}


def test_metadata_carries_licence_extras_and_command(wheel):
    with zipfile.ZipFile(wheel) as archive:
        inside = {
            name.split("/", 1)[1]: archive.read(name).decode("utf-8")
            for name in archive.namelist()
            if is_metadata(name)
        }
    assert inside["licenses/LICENSE"] == (CHECKOUT / "LICENSE").read_text(encoding="utf-8")
    extras = {line.split(": ")[1] for line in inside["METADATA"].splitlines() if line.startswith("Provides-Extra: ")}
    assert extras == {"torch", "tensorflow", "jax", "fast", "report", "remote", "device", "all"}
    assert "optconform = optconform.__main__:main" in inside["entry_points.txt"]


def test_a_sub_package_missing_from_the_list_is_noticed(tmp_path):
    export = clean_export(tmp_path / "export")
    (export / "reference" / "unlisted").mkdir()
    (export / "reference" / "unlisted" / "__init__.py").touch()
    missing = files_of_folders(export) - recorded_files(build_wheel(export, tmp_path / "dist"))
    assert missing == {"optconform/reference/unlisted/__init__.py"}


def test_a_file_from_a_stale_build_is_noticed(tmp_path):
    export = clean_export(tmp_path / "export")
    stale = export / "build" / "lib" / "optconform" / "reference" / "deleted.py"
    stale.parent.mkdir(parents=True)
    stale.touch()
    surplus = recorded_files(build_wheel(export, tmp_path / "dist")) - files_of_folders(export)
    assert surplus == {"optconform/reference/deleted.py"}


def test_a_new_project_s_tox_environment_passes_with_it(wheel, tmp_path):
    """Its other requirements, and the build backend, come from the index that pip knows."""
    subprocess.run(
        [sys.executable, "-m", "optconform", "init", "decay-demo", "--framework", "numpy"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    pip = {"PIP_FIND_LINKS": str(wheel.parent), "PIP_CONSTRAINT": str(CHECKOUT / "constraints.txt")}
    # What this environment of tox sets for its own commands is not for the one inside.
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("TOX_", "PYTEST_", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, "-m", "tox", "run", "--colored", "no"],
        cwd=tmp_path / "decay-demo",
        capture_output=True,
        text=True,
        check=False,
        env=outer | pip,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^plugins: .*optconform-", done.stdout, re.MULTILINE)
    assert "1 optimizer: 1 as expected, 0 not" in done.stdout
    assert "optimizer: OK" in done.stdout


def test_every_package_listed_exists():
    with (CHECKOUT / "pyproject.toml").open("rb") as file:
        listed = set(tomllib.load(file)["tool"]["setuptools"]["packages"])
    found = {
        ".".join(("optconform", *path.parent.relative_to(CHECKOUT).parts))
        for folder in FOLDERS
        for path in (CHECKOUT / folder).rglob("__init__.py")
    }
    assert listed == found | {"optconform"}


def test_the_installed_package_is_this_checkout():
    """What the other tests import must not be an older build, or one with files that were deleted since."""
    if Path(optconform.__file__).resolve().parent == CHECKOUT:
        pytest.skip("the checkout itself is imported")
    distribution = metadata.distribution("optconform")
    installed = {
        path.as_posix() for path in distribution.files or () if path.parts[0] == "optconform" and path.suffix != ".pyc"
    }
    expected = {name for name in files_of_folders(CHECKOUT) if "__pycache__" not in name}
    assert installed == expected, "remove build/ and install again (`tox run -r`)"
    for name in sorted(expected):
        source = CHECKOUT / name.removeprefix("optconform/")
        assert distribution.locate_file(name).read_bytes() == source.read_bytes(), f"{name} differs: install again"

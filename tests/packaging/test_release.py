"""What goes out with a release says the same as the code: citation, versions and their promises."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from optconform.conformance.codes import CODES
from optconform.conformance.outcomes import ExitStatus

CHECKOUT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CITATION = (CHECKOUT / "CITATION.cff").read_text(encoding="utf-8")
VERSIONS = (CHECKOUT / "docs" / "versions.md").read_text(encoding="utf-8")
PACKAGES = ("adapters", "conformance", "gpu_ci", "reference")


def test_the_citation_fits_its_format(against_schema):
    done = against_schema("citation-file-format", CHECKOUT / "CITATION.cff")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("sound", "broken"),
    [("cff-version:", "cff_version:"), ("type: conference-paper", "type: talk")],
)
def test_a_mistake_in_the_citation_does_not_fit(against_schema, tmp_path, sound, broken):
    assert sound in CITATION
    (tmp_path / "CITATION.cff").write_text(CITATION.replace(sound, broken), encoding="utf-8")
    assert against_schema("citation-file-format", tmp_path / "CITATION.cff").returncode == 1


def test_the_citation_names_this_version_and_the_paper():
    citation = yaml.safe_load(CITATION)
    assert citation["cff-version"] == "1.2.0"
    assert citation["title"] == PROJECT["name"]
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in PROJECT["authors"]]
    (paper,) = citation["references"]
    assert [author["family-names"] for author in paper["authors"]] == ["Loshchilov", "Hutter"]
    assert paper["title"] == "Decoupled Weight Decay Regularization"
    assert paper["year"] == 2019


def test_every_schema_is_in_the_table_of_versions():
    """A document that is not promised to anybody is in it too, as that."""
    written = {
        schema
        for package in PACKAGES
        for file in (CHECKOUT / package).rglob("*.py")
        for schema in re.findall(r'"(optconform/[a-z-]+/\d+)"', file.read_text(encoding="utf-8"))
    }
    assert "optconform/audit/1" in written
    assert set(re.findall(r"`(optconform/[a-z-]+/\d+)`", VERSIONS)) == written


def test_every_json_schema_of_the_package_is_in_the_table_of_versions():
    shipped = {
        file.relative_to(CHECKOUT).as_posix()
        for package in PACKAGES
        for file in (CHECKOUT / package).rglob("*.schema.json")
    }
    assert len(shipped) > 5
    assert set(re.findall(r"`(\S+\.schema\.json)`", VERSIONS)) == shipped


def test_every_exit_status_is_promised():
    (promised,) = re.findall(r"^\| exit statuses \| (.+?), as", VERSIONS, re.MULTILINE)
    assert [int(status) for status in re.findall(r"\d+", promised)] == sorted(ExitStatus)


def test_the_finding_shown_as_an_example_exists():
    ((code, name),) = re.findall(r"(OC\d+) `([a-z0-9-]+)`", VERSIONS)
    assert CODES[code].name == name


def test_the_classifiers_name_the_supported_versions_of_python():
    """The oldest is that of requires-python, and there is no gap up to the newest."""
    named = [
        int(minor)
        for classifier in PROJECT["classifiers"]
        for minor in re.findall(r"^Programming Language :: Python :: 3\.(\d+)$", classifier)
    ]
    oldest = int(PROJECT["requires-python"].removeprefix(">=3."))
    assert named == list(range(oldest, oldest + len(named)))
    said = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert f"Python 3.{named[0]} to 3.{named[-1]}" in said

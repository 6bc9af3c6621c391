"""docs/configuration.md: every table of keys that the documentation shows is one that the command takes.

`test_pages.py` does what the page says; here are the examples that it does not run, of every page.
"""

import re
import tomllib
from pathlib import Path

import pytest

from optconform.conformance.configuration.errors import ConfigurationError
from optconform.conformance.configuration.reading import read_configuration
from optconform.conformance.configuration.schema import FILE

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
TABLES = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"^```toml\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S))
    if "[tool.optconform]" in block
]
PAGE = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("block", TABLES)
def test_a_table_that_is_shown_is_valid(block, tmp_path):
    table = tomllib.loads(block)["tool"]["optconform"]
    for target in table.get("targets", ()):
        place = Path(target["target"].rpartition(":")[0])
        if place.suffix == ".py":
            (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / place).touch()
    assert read_configuration(table, tmp_path / "pyproject.toml").targets or "targets" not in table


def test_the_message_that_is_shown_is_the_message(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = {"targets": [{"target": "my_package.optim:MyAdamW", "framework": "pytroch"}]}
    with pytest.raises(ConfigurationError) as caught:
        read_configuration(table, tmp_path / "pyproject.toml")
    assert f"```\nError: {caught.value}\n```\n" in PAGE


def test_the_gate_of_a_project_is_ten_lines():
    first = re.search(r"^```toml\n(.*?)^```", PAGE, re.M | re.S)[1]
    assert len(first.splitlines()) <= 10


def test_the_schema_lies_where_the_page_says():
    place = re.search(r"files\('optconform'\) / '([^']+)'", PAGE)[1]
    assert place == f"conformance/schema/{FILE}"
    assert (ROOT / place).is_file()

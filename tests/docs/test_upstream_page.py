"""Every script of examples/upstream is on the page of observed mistakes, and the other way round; they compile."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "examples" / "upstream").glob("*.py"))
PAGE = (ROOT / "docs" / "upstream.md").read_text(encoding="utf-8")


def test_page_and_folder_agree():
    assert sorted(re.findall(r"`(\w+\.py)` \|", PAGE)) == [script.name for script in SCRIPTS]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_needs_the_library_alone_and_says_what_it_shows(script):
    tree = ast.parse(script.read_text(encoding="utf-8"))
    imported = {
        alias.name.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    imported |= {(node.module or "").partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert "optconform" not in imported
    heading = ast.get_docstring(tree)
    version = re.match(r"(\S+ \d[\d.]*)", heading)
    assert version, "it opens with the library and the version it was run on"
    code = re.search(r"OC\d{3}", heading)[0]
    row = next(line for line in PAGE.splitlines() if f"`{script.name}`" in line)
    assert code in row
    assert version[1].split()[1] in row

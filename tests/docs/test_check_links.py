"""The check of links finds planted dead ones; the Markdown files of the root have none."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("check_links", ROOT / "scripts/check_links.py")
check_links = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = check_links  # dataclasses look their own module up
SPEC.loader.exec_module(check_links)


@pytest.fixture
def site(tmp_path):
    """Return a function that writes a page of HTML and one of Markdown with the same link, and checks both."""
    (tmp_path / "other.html").write_text('<h1 id="there">x</h1><a name="named"></a>', encoding="utf-8")
    (tmp_path / "other.md").write_text("# There\n\n## What is `lr*wd`?\n\n## There\n", encoding="utf-8")

    def check(html, markdown):
        (tmp_path / "page.html").write_text(f'<p id="here"><a href="{html}">x</a></p>', encoding="utf-8")
        (tmp_path / "page.md").write_text(f"# Here\n\n| a |\n|---|\n| [x]({markdown}) |\n", encoding="utf-8")
        check_links.read.cache_clear()
        return [check_links.main([str(tmp_path / name)]) for name in ("page.html", "page.md")]

    return check


@pytest.mark.parametrize(
    ("html", "markdown"),
    [
        ("other.html", "other.md"),
        ("other.html#there", "other.md#what-is-lrwd"),
        ("other.html#named", "other.md#there-1"),
        ("#here", "#here"),
        ("https://example.org/missing", "https://example.org/missing"),
        ("mailto:a@example.org", "mailto:a@example.org"),
    ],
)
def test_living_links(site, html, markdown):
    assert site(html, markdown) == [0, 0]


@pytest.mark.parametrize(
    ("html", "markdown", "reason"),
    [
        ("missing.html", "missing.md", "no such file"),
        ("other.html#nowhere", "other.md#nowhere", "the anchor is not"),
        ("#nowhere", "#nowhere", "the anchor is not"),
        ("sub/other.html", "sub/other.md", "no such file"),
    ],
)
def test_dead_links(site, capsys, html, markdown, reason):
    assert site(html, markdown) == [1, 1]
    said = capsys.readouterr().out
    assert f"page.html: {html}: " in said
    assert f"page.md: {markdown}: " in said
    assert said.count(reason) == 2


def test_nothing_to_check_is_no_pass(tmp_path):
    with pytest.raises(SystemExit, match="expected a Markdown file"):
        check_links.main([str(tmp_path)])


def test_links_of_the_root(capsys):
    status = check_links.main([str(ROOT / name) for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")])
    assert status == 0, capsys.readouterr().out

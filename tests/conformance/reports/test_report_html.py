"""The HTML report: one file, everything in it, nothing fetched, and no text of a target is markup."""

import json
import math
import re
import sys
from html.parser import HTMLParser

import pytest

from optconform.adapters.errors import MissingExtra
from optconform.conformance.reports import html
from optconform.conformance.reports.document import read_document

VOID = {"meta", "input", "br", "wbr", "link", "img"}


@pytest.fixture(scope="module", autouse=True)
def _packages():
    pytest.importorskip("jinja2")
    pytest.importorskip("plotly")


class Page(HTMLParser):
    """Elements, attributes and text of a page; every element must be closed in its place."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.scripts, self.cells = [], [], [], [], []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *each) for each in attrs]
        if tag == "script":
            self.scripts.append([dict(attrs), ""])
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "script" in self.open:
            self.scripts[-1][1] += data
        elif "style" not in self.open:
            self.text += data
            if {"td", "th"} & set(self.open):
                self.cells[-1][-1] += data


def page_of(document):
    text = html.html_of(read_document(document))
    text.encode()
    return Page(text)


def figures_of(page):
    return [json.loads(text) for attributes, text in page.scripts if "data-figure" in attributes]


def test_it_is_one_file_that_fetches_nothing(gate_document):
    page = page_of(gate_document)
    assert {attribute for _, attribute, _ in page.attributes} & {"src", "action", "srcset"} == set()
    assert {value[0] for _, attribute, value in page.attributes if attribute == "href"} == {"#"}
    assert "link" not in page.tags
    plotly = [text for _, text in page.scripts if "plotly.js v" in text[:200]]
    assert len(plotly) == 1


def test_it_shows_the_run(gate_document):
    page = page_of(gate_document)
    for said in (
        "optconform: NOT as expected",
        "3 results: 1 as expected, 1 not as expected, 1 skipped.",
        "compared with the 3 cases of card.json",
        "not run: keras-jax, which is not installed",
        "OC501 device-mismatch",
        "first at step 3, parameter 'w', element [2, 1]",
        "optconform audit optconform.adapters.numpy_optimizers:AdamW",
        "Card 9",
        "1.2.3",
    ):
        assert said in page.text
    head, *rows = page.cells
    assert head == ["result", "state", "findings", "verdict", "own", "nearest rival", "ULP from CPU", "repeated"]
    assert [row[1].strip() for row in rows] == ["failed", "passed", "skipped"]
    assert rows[0][2].split() == ["OC501"]
    assert rows[1][6:] == ["1.2e+03", "same bits"]
    links = {value for tag, attribute, value in page.attributes if (tag, attribute) == ("a", "href")}
    assert links == {f"#{value}" for tag, attribute, value in page.attributes if (tag, attribute) == ("details", "id")}


def test_light_dark_and_phones_are_provided_for(gate_document):
    text = html.html_of(read_document(gate_document))
    assert "@media (prefers-color-scheme: dark)" in text
    assert 'name="viewport"' in text


def test_the_figures_show_own_and_rival_by_runtime(gate_document, many):
    (figure,) = figures_of(Page(html.html_of(many(gate_document, 2))))
    own, rival = figure["data"]
    assert (own["name"], rival["name"]) == ("own", "nearest rival")
    assert own["x"][:2] == [2500000.0, 2500000.0]
    assert len(own["x"]) == 4
    assert len(rival["x"]) == 2, "a case without a rival has none beside it"
    assert all(x > 1 for x in rival["x"])
    assert figure["layout"]["xaxis"]["type"] == "log"
    (line,) = figure["layout"]["shapes"]
    assert line["x0"] == line["x1"] == 1.0


@pytest.mark.parametrize("ratio", ["inf", "nan", 0.0, 1e300])
def test_no_figure_leaves_the_axis(gate_document, ratio):
    gate_document["results"][0]["separation"] = {"own_ratio": ratio, "nearest_rival": "x", "rival_ratio": ratio}
    (figure,) = figures_of(page_of(gate_document))
    points = [x for trace in figure["data"] for x in trace["x"]]
    assert len(points) == 3
    assert all(0 < x < 1e19 and math.isfinite(x) for x in points)


def test_nothing_to_draw_draws_nothing(gate_document):
    page = page_of(gate_document | {"results": [], "exit_status": 4})
    assert not figures_of(page)
    assert all(len(text) < 100_000 for _, text in page.scripts), "Plotly's script is there without a figure"
    assert "nothing ran (exit status 4)" in page.text


def test_hostile_text_stays_text(hostile_document):
    page = page_of(hostile_document)
    figures = figures_of(page)
    assert len(figures) == 2, "a runtime with that name has a figure too"
    assert len(page.scripts) == len(figures) + 2
    assert "b" not in page.tags
    assert "x</script><!--]]>|`~~~```\"'&amp;<b>_*$\\n\\r\\t\\x00\\x1b[31m\\u2028\\u202e" in page.text
    assert "\\ud800\U0001f600%0A::error::" in page.text
    assert not re.search("[\x00-\x09\x0b-\x1f\u2028\u202e\ud800-\udfff]", page.text)
    labels = [label for figure in figures for label in figure["layout"]["yaxis"]["ticktext"]]
    assert len(labels) == 2
    assert not any("<" in label for label in labels), "Plotly takes some of HTML for markup"


@pytest.mark.parametrize(("absent", "named"), [("jinja2", "Jinja2"), ("plotly", "Plotly")])
def test_a_package_that_is_not_installed_is_named_with_the_command(monkeypatch, gate_document, absent, named):
    found = html.find_spec
    monkeypatch.setattr(html, "find_spec", lambda name: None if name == absent else found(name))
    with pytest.raises(MissingExtra, match=rf"{named}.*pip install 'optconform\[report\]'"):
        html.html_of(read_document(gate_document))


def test_nothing_of_it_is_imported_by_looking_whether_it_is_there():
    before = set(sys.modules)
    html.require_packages()
    assert not {name for name in set(sys.modules) - before if name.partition(".")[0] in ("jinja2", "plotly")}

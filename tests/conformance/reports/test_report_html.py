"""The HTML report: one file, everything in it, nothing fetched, and no text of a target is markup."""

import base64
import gzip
import json
import math
import re
import sys
from html.parser import HTMLParser

import pytest

from optconform.adapters import frameworks
from optconform.adapters.errors import MissingExtra
from optconform.conformance.codes import CODES
from optconform.conformance.reports import html
from optconform.conformance.reports.document import read_document
from optconform.conformance.reports.html_data import inside, safe_json
from optconform.conformance.reports.html_marks import Mark
from optconform.conformance.reports.html_matrix import matrix_of
from optconform.conformance.reports.html_overview import overview_of
from optconform.conformance.reports.html_section import verdict_sentence

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


def data_of(page):
    """What the sections draw and tabulate, in the order of the page."""
    return [json.loads(text) for attributes, text in page.scripts if attributes.get("type") == "application/json"]


def cells_of(document, index):
    """The cells of one result, numbered as in the document, by the heading of their column."""
    title = document["results"][index]["title"] = f"target {index}"
    columns, rows = matrix_of(read_document(document))
    (row,) = (row for row in rows if row.entry.title == title)
    return {column.heading: cell for column, cell in zip(columns, row.cells, strict=True)}


def test_it_is_one_file_that_fetches_nothing(gate_document):
    page = page_of(gate_document)
    assert {attribute for _, attribute, _ in page.attributes} & {"src", "action", "srcset"} == set()
    assert {value[0] for _, attribute, value in page.attributes if attribute == "href"} == {"#"}
    assert "link" not in page.tags
    policy = next(
        value for tag, attribute, value in page.attributes if (tag, attribute) == ("meta", "content") and ";" in value
    )
    assert policy.startswith("default-src 'none'; script-src 'nonce-")


def test_plotly_is_there_once_whole_and_no_markup(gate_document):
    page = page_of(gate_document)
    (packed,) = (text for attributes, text in page.scripts if attributes.get("id") == "plotly")
    assert re.fullmatch("[A-Za-z0-9+/=]+", packed)
    assert "plotly.js v" in gzip.decompress(base64.b64decode(packed)).decode()[:200]


def test_every_script_bears_the_word_that_the_policy_asks_for(gate_document):
    text = html.html_of(read_document(gate_document))
    (word,) = set(re.findall("nonce-([0-9a-f]{32})", text))
    running = [attributes for attributes, _ in Page(text).scripts if "type" not in attributes]
    assert len(running) == 5
    assert all(attributes == {"nonce": word} for attributes in running)
    gate_document["date"] = "another"
    assert word not in html.html_of(read_document(gate_document))


def test_it_shows_the_run(gate_document):
    page = page_of(gate_document)
    for said in (
        "NOT as expected",
        "optconform gate: 3 results of torch, jax",
        "1: at least one result is not as expected",
        "2026-11-22",
        "compared with the 3 cases of card.json",
        "not run: keras-jax, which is not installed",
        "OC501 device-mismatch error",
        "first at step 3, parameter 'w', element [2, 1]",
        "optconform audit optconform.adapters.numpy_optimizers:AdamW",
        CODES["OC501"].fires_when,
        "Card 9",
        "1.2.3",
    ):
        assert said in " ".join(page.text.split()), said
    links = {value for tag, attribute, value in page.attributes if (tag, attribute) == ("a", "href")}
    ids = {f"#{value}" for _, attribute, value in page.attributes if attribute == "id"}
    assert links <= ids
    assert {"#target-1", "#target-2", "#target-3", "#rule-OC501"} <= links


@pytest.mark.parametrize(
    ("kept", "status", "sentence"),
    [
        ([0, 1], 1, "1 of 2 results is not as expected: "),
        ([0, 0], 0, "All 2 results are as expected."),
        ([0], 0, "The only result is as expected."),
        ([], 4, ""),
    ],
)
def test_the_first_sentence_says_how_the_run_ended(check_document, kept, status, sentence):
    results = [check_document["results"][index] for index in kept]
    document = read_document(check_document | {"results": results, "exit_status": status})
    assert verdict_sentence(document).startswith(sentence)
    assert bool(verdict_sentence(document)) is bool(sentence)


def test_a_row_for_each_result_and_a_column_for_what_is_told(gate_document):
    head, *rows = page_of(gate_document).cells
    assert [row[1].split()[-1] for row in rows] == ["failed", "passed", "skipped"]
    assert head[0] == "Target"
    assert {"State", "Verdict", "Law", "Own", "Rival", "ULP from CPU", "Repeated"} <= set(head)
    assert "Gradients" not in head, "nothing of it was checked"
    assert "OC501" in rows[0][-1]
    assert rows[1][head.index("ULP from CPU")] == "1.2e+03"
    assert "same bits" in rows[1][head.index("Repeated")]


def test_a_cell_is_marked_by_its_checks_and_findings(check_document):
    marks = [cells_of(check_document, index) for index in range(4)]
    assert [cells["Verdict"].mark for cells in marks] == [Mark.PASS, Mark.FAIL, Mark.FAIL, Mark.UNKNOWN]
    assert [cells["State"].mark for cells in marks] == [Mark.PASS, Mark.FAIL, Mark.FAIL, Mark.UNKNOWN]


@pytest.mark.parametrize(
    ("severity", "accepted", "mark"),
    [("error", "", Mark.FAIL), ("warning", "", Mark.WARN), ("info", "", Mark.PASS), ("error", "known", Mark.PASS)],
)
def test_a_finding_marks_the_property_it_is_about(check_document, severity, accepted, mark):
    result = check_document["results"][0]
    told = {"rule": "OC305", "name": "n", "message": "m", "evidence": {}, "parameter": None, "rerun": None}
    result["findings"] = [told | {"severity": severity, "accepted": accepted, "rule": "OC301"}]
    cells = cells_of(check_document, 0)
    assert cells["Trajectory"].mark is mark
    assert "OC301 m" in cells["Trajectory"].note
    assert cells["Verdict"].mark is Mark.PASS


def test_a_check_that_failed_with_a_warning_alone_is_a_warning(check_document):
    result = check_document["results"][0]
    result["checks"]["details"] += [
        {"name": "restore", "outcome": "failed", "message": "m", "code": "OC405", "severity": "warning"},
        {"name": "reproducibility", "outcome": "passed", "message": "m", "code": "OC411", "severity": None},
    ]
    cell = cells_of(check_document, 0)["Resuming"]
    assert (cell.mark, cell.text) == (Mark.WARN, "1 of 2")


def test_of_a_survey_no_kind_is_right_or_wrong(check_document):
    for result in check_document["results"]:
        result["expected"] = "any"
    assert cells_of(check_document, 0)["Verdict"].mark is Mark.INFO


def test_sections_hold_what_their_pictures_are_drawn_from(check_document):
    first = data_of(page_of(check_document))[-1]
    assert first["law"] == "lr*wd"
    titles = [table["title"] for table in first["tables"]]
    assert titles == ["Checks", "Parameters", "Rival rules"]
    for table in first["tables"]:
        assert {len(row) for row in table["rows"]} == {len(table["head"])}


def test_the_overview_shows_own_and_rival_by_runtime(gate_document, many):
    picture = overview_of(many(gate_document, 2))
    assert [name for name, _ in picture.rows] == ["torch"]
    own = [point for point in picture.points if not point.rival]
    rivals = [point for point in picture.points if point.rival]
    assert (len(own), len(rivals)) == (4, 2), "a case without a rival has none beside it"
    assert sum(point.x > picture.bound for point in own) == 2
    assert all(point.x > picture.bound for point in rivals)


@pytest.mark.parametrize("ratio", ["inf", "nan", 0.0, 1e300])
def test_no_point_leaves_the_picture(gate_document, ratio):
    gate_document["results"][0]["separation"] = {"own_ratio": ratio, "nearest_rival": "x", "rival_ratio": ratio}
    picture = overview_of(read_document(gate_document))
    assert len(picture.points) == 3
    assert all(0 <= point.x <= 100 and 0 < point.y < picture.bottom for point in picture.points)
    assert math.isfinite(inside(float(ratio)))


def test_a_run_of_nothing_says_so(gate_document):
    page = page_of(gate_document | {"results": [], "exit_status": 4})
    assert not data_of(page)
    assert "nothing ran (exit status 4)" in page.text
    assert "4: nothing could be decided" in page.text


def test_hostile_text_stays_text(hostile_document):
    page = page_of(hostile_document)
    assert len(data_of(page)) == 3
    assert len(page.scripts) == 3 + 1 + 5
    assert "x</script><!--]]>|`~~~```\"'&amp;<b>_*$\\n\\r\\t\\x00\\x1b[31m\\u2028\\u202e" in page.text
    assert "\\ud800\U0001f600%0A::error::" in page.text
    assert not re.search("[\x00-\x09\x0b-\x1f\u2028\u202e\ud800-\udfff]", page.text)
    assert "</script><!--" not in "".join(text for _, text in page.scripts)


def test_data_in_the_page_is_plain_ascii_without_markup():
    data = {"a": "</script><!-- & \u2028\ud800\x00", "b": [1.5, math.inf, math.nan, None, ("x",)]}
    text = safe_json(data)
    assert not set("<>&") & set(text)
    assert "/" not in text.replace("\\/", "")
    assert text.isascii()
    assert json.loads(text) == {"a": "</script><!-- & \\u2028\\ud800\\x00", "b": [1.5, None, None, None, ["x"]]}


@pytest.mark.parametrize("absent", ["jinja2", "plotly"])
def test_a_package_that_is_not_installed_is_named_with_the_command(monkeypatch, gate_document, absent):
    monkeypatch.setattr(frameworks, "is_findable", lambda name: name != absent)
    with pytest.raises(MissingExtra, match=rf"needs {absent}, .*pip install 'optconform\[report\]'"):
        html.html_of(read_document(gate_document))


def test_nothing_of_it_is_imported_by_looking_whether_it_is_there():
    before = set(sys.modules)
    html.require_packages()
    assert not {name for name in set(sys.modules) - before if name.partition(".")[0] in ("jinja2", "plotly")}

"""The pictures of a target: drawn when it is opened, of the points that were measured, with the same in words."""

import pytest

pytest.importorskip("playwright")
pytestmark = pytest.mark.browser

from optconform.conformance.reports.document import read_document  # noqa: E402


def number_of(document, verdict):
    """Number of the section of the first result with that verdict, and its JSON; the worst come first."""
    entries = enumerate(read_document(document).worst_first, start=1)
    return next((number, entry.result.to_json()) for number, entry in entries if entry.result.verdict == verdict)


@pytest.fixture
def opened(drawn):
    """Return a function that opens the section of one target, and has all of its pictures drawn."""

    def open_(page, number):
        page.evaluate(f"location.hash = 'target-{number}'")
        section = page.locator(f"#target-{number}")
        section.locator(".groups").wait_for()
        drawn(section.locator(".evidence .plot"))
        return section

    return open_


def test_nothing_is_drawn_before_it_is_opened(open_page, report):
    page = open_page(report)
    assert page.locator(".target .plot").count() == 0
    assert page.locator(".target svg").count() == 0


@pytest.mark.parametrize(("verdict", "lines"), [("decoupled", True), ("l2", False)])
def test_decoupled_is_a_line_through_the_origin_and_l2_a_cloud(open_page, opened, report, document, verdict, lines):
    page = open_page(report)
    number, result = number_of(document, verdict)
    section = opened(page, number)
    panel = section.locator(".panels").first
    measured = sum(len(each["theta"]) for each in result["series"]["displacements"])
    assert panel.locator(".scatterlayer .point").count() == measured > 10
    assert (panel.locator(".scatterlayer .js-line").count() > 0) is lines
    drawn = panel.locator(".plot").first.evaluate("(plot) => plot.data.map(({ mode, x, y }) => ({ mode, x, y }))")
    for each in drawn:
        if each["mode"] == "lines":
            slopes = {round(y / x, 6) for x, y in zip(each["x"], each["y"], strict=True) if x}
            assert len(slopes) == 1
            assert slopes.pop() < 0
    said = panel.locator("[role=img]").first.get_attribute("aria-label")
    assert ("on a line through the origin" in said) is lines
    assert ("in a cloud" in said) is not lines


def test_distances_are_drawn_on_a_log_scale_with_the_bound_at_one(open_page, opened, report, document):
    page = open_page(report)
    number, result = number_of(document, "decoupled")
    section = opened(page, number)
    plot = section.locator(".panels").nth(1).locator(".plot").first
    axis, shape, data = plot.evaluate("(plot) => [plot.layout.yaxis.type, plot.layout.shapes[0], plot.data]")
    assert axis == "log"
    assert shape["y0"] == shape["y1"] == 1
    assert [len(each["y"]) for each in data] == [len(result["series"]["distances"][0]["steps"])] * 2
    rival, own = data
    assert max(own["y"]) <= 1 < min(rival["y"])


def test_the_law_is_drawn_against_what_it_predicts(open_page, opened, report, document):
    page = open_page(report)
    number, result = number_of(document, "decoupled")
    section = opened(page, number)
    plot = section.locator(".panels").nth(2).locator(".plot").first
    line, *points = plot.evaluate("(plot) => plot.data")
    assert sum(len(each["x"]) for each in points) == len(result["series"]["law"])
    for each in points:
        assert each["y"] == pytest.approx(each["x"], rel=1e-5)
    assert line["mode"] == "lines"


def test_one_tensor_can_be_looked_at_alone(open_page, opened, report, document):
    page = open_page(report)
    number, result = number_of(document, "decoupled")
    section = opened(page, number)
    first = result["series"]["displacements"][0]
    panel = section.locator(".panels").first
    panel.get_by_role("combobox").select_option(first["parameter"])
    alone = sum(
        len(each["theta"]) for each in result["series"]["displacements"] if each["parameter"] == first["parameter"]
    )
    panel.locator(f".points:has(.point:nth-child({alone})):not(:has(.point:nth-child({alone + 1})))").wait_for()


def test_the_numbers_of_a_picture_are_a_table(open_page, opened, report, document):
    page = open_page(report)
    number, result = number_of(document, "decoupled")
    section = opened(page, number)
    section.locator(".more summary", has_text="The numbers").first.click()
    rows = section.locator(".more").first.locator("tbody tr")
    rows.first.wait_for()
    assert rows.count() == sum(len(each["theta"]) for each in result["series"]["displacements"])
    cells = rows.first.locator("td").all_inner_texts()
    first = result["series"]["displacements"][0]
    assert cells[:2] == [first["trace"], first["parameter"]]
    assert [float(cell) for cell in cells[3:5]] == [first["theta"][0], first["moved"][0]]


def test_checks_parameters_and_rivals_are_tables(open_page, opened, report, document):
    page = open_page(report)
    number, result = number_of(document, "decoupled")
    section = opened(page, number)
    counts = {
        "Checks": len(result["checks"]["details"]),
        "Parameters": len(result["parameters"]),
        "Rival rules": len(result["match"]["rivals"]),
    }
    for title, count in counts.items():
        details = section.locator(".more", has=page.locator("summary", has_text=title))
        details.locator("summary").click()
        details.locator("tbody tr").first.wait_for()
        assert details.locator("tbody tr").count() == count > 0


def test_a_finding_is_explained_and_can_be_run_again(open_page, opened, report, document):
    page = open_page(report)
    number, result = number_of(document, "l2")
    section = opened(page, number)
    finding = section.locator(".finding").first
    assert finding.locator("h4").inner_text().split()[1:4] == ["OC101", "coupled-decay", "error"]
    finding.locator("summary").click()
    explained = finding.locator("dl").inner_text()
    assert "Proposition 2 of the paper" in explained
    assert "What to do" in explained
    assert section.locator(".rerun").count() == bool(result["rerun"])


def test_a_command_is_copied(open_page, document, html_of_document):
    command = "optconform audit a.b:C --set 'x=<1>'"
    changed = dict(document, results=[dict(document["results"][0], rerun=command)])
    page = open_page(html_of_document(changed), permissions=["clipboard-read", "clipboard-write"])
    page.evaluate("() => { window.setTimeout = () => 0; }")  # or what the button says is gone before it is looked at
    page.locator(".copy").click()
    page.locator(".copy", has_text="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == command


def test_the_overview_has_a_point_for_every_result_and_leads_to_it(open_page, report):
    page = open_page(report)
    overview = page.locator("#overview > svg")
    assert overview.locator(".own").count() == overview.locator(".rival").count() == 3
    bound = overview.locator(".bound").bounding_box()["x"]
    for each, side in ((".own", -1), (".rival", 1)):
        for point in overview.locator(each).all():
            box = point.bounding_box()
            assert side * (box["x"] + box["width"] / 2 - bound) > 0
    overview.locator(".own").first.click()
    page.locator(".target[open] .groups").first.wait_for(state="attached")

"""The matrix sorts, filters and is searched, by mouse and by keyboard alone, and stays readable while it scrolls."""

import copy

import pytest

pytest.importorskip("playwright")
pytestmark = pytest.mark.browser


def shown(page, column=1):
    """What the visible rows say in one column."""
    return page.eval_on_selector_all(
        "#matrix tbody tr:not([hidden])",
        f"(rows) => rows.map((row) => row.cells[{column}].textContent.trim())",
    )


def column_of(page, heading):
    headings = page.eval_on_selector_all("#matrix thead th", "(all) => all.map((each) => each.textContent.trim())")
    return headings.index(heading)


def names(page):
    return [name.rpartition(":")[2].rpartition(".")[2] for name in shown(page, 0)]


def test_every_cell_says_its_state_in_a_symbol_and_a_word(open_page, report):
    page = open_page(report)
    assert shown(page, column_of(page, "State"))[0].endswith("error")
    cells = page.locator("#matrix td[data-key]:has(.mark)")
    words = set(cells.locator(".unseen").all_text_contents())
    assert {"pass: ", "fail: "} <= words <= {"pass: ", "fail: ", "warn: ", "skip: ", "cannot tell: ", "info: "}
    assert all(symbol.strip() for symbol in cells.locator(".mark").all_inner_texts())


def test_a_heading_sorts_both_ways_with_the_keyboard_and_says_so(open_page, report):
    page = open_page(report)
    button = page.get_by_role("button", name="Target", exact=True)
    button.focus()
    page.keyboard.press("Enter")
    heading = page.locator("#matrix thead th").first
    assert heading.get_attribute("aria-sort") == "ascending"
    ascending = shown(page, 0)
    assert ascending == sorted(ascending, key=str.lower)
    page.keyboard.press("Space")
    assert heading.get_attribute("aria-sort") == "descending"
    assert shown(page, 0) == ascending[::-1]
    assert page.locator("#matrix [aria-sort]").count() == 1


def test_figures_sort_as_numbers_and_empty_ones_stay_below(open_page, document, html_of_document):
    changed = copy.deepcopy(document)
    # As text, 1e+02 stands before 2 and 9.
    for result, ratio in zip(changed["results"], (9.0, 100.0, 2.0), strict=False):
        result["separation"]["rival_ratio"] = ratio
    page = open_page(html_of_document(changed))
    column = column_of(page, "Rival")
    button = page.locator("#matrix thead button").nth(column)
    for expected in (["1e+02", "9", "2", ""], ["2", "9", "1e+02", ""]):
        button.click()
        assert shown(page, column) == expected


def test_every_column_can_be_sorted(open_page, report):
    page = open_page(report)
    buttons = page.locator("#matrix thead th button")
    assert buttons.count() == page.locator("#matrix thead th").count()
    before = sorted(shown(page, 0))
    for number in range(buttons.count()):
        buttons.nth(number).click()
        assert page.locator("#matrix thead th").nth(number).get_attribute("aria-sort")
        assert sorted(shown(page, 0)) == before


@pytest.mark.parametrize(
    ("label", "option", "left"),
    [
        ("State", "failed", ["CoupledAdam"]),
        ("State", "passed", ["AdamW", "SGDW"]),
        ("Finding", "OC101", ["CoupledAdam"]),
        ("Finding", "OC901", ["Broken"]),
    ],
)
def test_a_filter_leaves_what_it_names(open_page, report, label, option, left):
    page = open_page(report)
    page.get_by_label(label, exact=True).select_option(option)
    assert sorted(names(page)) == left
    assert page.locator("#shown").inner_text() == f"{len(left)} of 4 shown"


def test_what_runs_on_a_framework_can_be_picked(open_page, document, html_of_document):
    mixed = dict(document, results=[dict(document["results"][0], framework="jax"), *document["results"][1:]])
    page = open_page(html_of_document(mixed))
    page.get_by_label("Runs on").select_option("jax")
    assert names(page) == ["AdamW"]


def test_searching_by_keyboard_alone(open_page, report):
    page = open_page(report)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the results"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("COUPLED l2")
    assert names(page) == ["CoupledAdam"]
    assert page.locator("#shown").inner_text() == "1 of 4 shown"
    page.keyboard.type(" nowhere")
    assert names(page) == []
    assert page.locator("#none").is_visible()
    page.get_by_label("State", exact=True).select_option("passed")
    page.locator("#search").focus()
    page.keyboard.press("Escape")
    page.locator("#shown", has_text="4 of 4 shown").wait_for()


def test_a_row_leads_to_its_section_and_the_section_opens(open_page, report):
    page = open_page(report)
    link = page.locator("#matrix tbody a", has_text="CoupledAdam").first
    link.focus()
    page.keyboard.press("Enter")
    section = page.locator(f"{link.get_attribute('href')}")
    section.locator(".body").wait_for()
    assert "CoupledAdam" in section.locator("summary h3").inner_text()
    assert page.evaluate("document.activeElement.closest('details').id") == section.get_attribute("id")


def test_heading_and_first_column_stay_while_it_scrolls(open_page, report):
    page = open_page(report, viewport={"width": 700, "height": 150})
    wide = page.locator("#results .wide")
    wide.scroll_into_view_if_needed()
    before = page.locator("#matrix thead .name").bounding_box()
    wide.evaluate("(element) => element.scrollTo(400, 60)")
    assert wide.evaluate("(element) => element.scrollLeft > 0 && element.scrollTop > 0")
    after = page.locator("#matrix thead .name").bounding_box()
    assert (after["x"], after["y"]) == (before["x"], before["y"])
    assert page.locator("#matrix tbody .name").first.bounding_box()["x"] == before["x"]

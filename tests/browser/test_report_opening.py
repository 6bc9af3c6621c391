"""The report opens from a file, whatever the run and the text in it, and asks for nothing else."""

import copy
from dataclasses import replace

import pytest

pytest.importorskip("playwright")
pytestmark = pytest.mark.browser

from optconform.conformance.check_report import CheckReport  # noqa: E402

HOSTILE = (
    "x</script><script>window.pwned = 1</script><img src=http://a.invalid/ onerror='window.pwned=1'><!--]]>"
    "\"'&amp;<b>{{7*7}}\n\r\t\x00\x1b[31m\u2028\u202e\ud800\U0001f600<svg/onload=window.pwned=1>"
)


def test_it_opens_and_says_how_the_run_ended(open_page, report):
    page = open_page(report)
    assert page.title() == "optconform: NOT as expected"
    assert page.locator("h1").inner_text().endswith("NOT as expected")
    assert "2 of 4 results are not as expected" in page.locator(".head .lead").inner_text()
    facts = page.locator(".head .facts").inner_text()
    assert "optconform check: 4 results of numpy" in facts
    assert "3: a target, or a framework or device that was required, could not run" in facts
    assert "torch is not installed" in page.locator(".notes").inner_text()
    assert page.guard.requests == [page.url]


@pytest.mark.parametrize(
    "planted",
    [
        "<img src='http://a.invalid/x.png'>",
        "<link rel=stylesheet href='http://a.invalid/x.css'>",
        "<script>window.pwned = 1</script>",
        "<p onclick='0'><script src='data:,window.pwned=1'></script></p>",
    ],
)
def test_what_is_planted_is_refused_by_the_page_itself(open_page, report, planted):
    page = open_page(report.replace("</main>", f"{planted}</main>"), guarded=False)
    assert any("Content Security Policy" in error for error in page.guard.errors)
    assert page.evaluate("window.pwned") is None


def test_the_guard_sees_requests_and_errors(open_page):
    page = open_page("<img src='http://a.invalid/x.png'><script>throw Error('planted')</script>", guarded=False)
    assert page.guard.fetched == ["http://a.invalid/x.png"]
    assert any("planted" in error for error in page.guard.errors)


def hostile_everywhere(value):
    """Every text that is free to be anything, replaced."""
    free = {"target", "title", "reason", "remark", "message", "parameter", "rerun", "output", "effective_note", "name"}
    if isinstance(value, dict):
        changed = {key: HOSTILE if key in free and isinstance(each, str) else each for key, each in value.items()}
        return {key: hostile_everywhere(each) for key, each in changed.items()}
    return [hostile_everywhere(each) for each in value] if isinstance(value, list) else value


def test_hostile_text_stays_text(open_page, drawn, document, html_of_document):
    hostile = hostile_everywhere(copy.deepcopy(document))
    for result in hostile["results"]:
        result["hyperparameters"] = result["versions"] = {HOSTILE: HOSTILE}
        result["rerun"] = HOSTILE
        for distance in result["series"]["distances"]:
            distance["trace"] = distance["own_rule"] = distance["rival_rule"] = HOSTILE
        for displacement in result["series"]["displacements"]:
            displacement["trace"] = displacement["parameter"] = HOSTILE
    page = open_page(html_of_document(hostile), "#target-2")
    page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    drawn(page.locator("#target-2 .plot"))
    page.locator("#target-2 .plot .xtick").first.hover(force=True)
    assert page.evaluate("window.pwned") is None
    assert page.locator("img, b:text-is('{{7*7}}')").count() == 0
    # As Python writes it, so that nothing is lost and nothing steers.
    assert "\\u202e\\ud800\U0001f600" in page.locator("#target-2 h3").inner_text()
    assert "\u202e" not in page.locator("body").inner_text()


def test_what_plotly_takes_for_markup_is_shown_as_it_is(open_page, drawn, document, html_of_document):
    changed = copy.deepcopy(document)
    changed["results"] = changed["results"][:1]
    for distance in changed["results"][0]["series"]["distances"]:
        distance["own_rule"] = "<b>own</b> &lt;"
    page = open_page(html_of_document(changed))
    drawn(page.locator("#target-1 .plot"))
    assert "<b>own</b> &lt;" in page.locator("#target-1 .annotation-text").all_text_contents()


def test_results_without_points_are_told_in_words(open_page, document, html_of_document):
    old = copy.deepcopy(document)
    for result in old["results"]:
        del result["series"]
    page = open_page(html_of_document(old))
    for number in range(1, 5):
        page.evaluate(f"location.hash = 'target-{number}'")
        section = page.locator(f"#target-{number}")
        section.locator(".groups").wait_for()
        assert section.locator(".plot").count() == 0
    assert page.locator(".more summary", has_text="Checks").count() >= 3


def test_a_run_of_nothing_opens(open_page, html_of_document):
    page = open_page(html_of_document(CheckReport(()).to_json()))
    assert "Nothing ran." in page.locator("#targets").inner_text()
    assert page.locator("#shown").inner_text() == "0 of 0 shown"


def test_an_audit_of_one_target_is_open_at_once(open_page, drawn, results, html_of_document):
    page = open_page(html_of_document(results[0].to_json()))
    drawn(page.locator("#target-1 .plot"))
    assert page.locator("#target-1 .point").count() > 0


def test_300_targets_stay_under_10_megabytes_and_open(open_page, results, html_of_document):
    many = tuple(replace(results[number % 3], title=f"library_{number}:Optimizer") for number in range(300))
    text = html_of_document(CheckReport(many).to_json())
    assert len(text.encode()) < 10_000_000
    page = open_page(text)
    assert page.locator("#shown").inner_text() == "300 of 300 shown"
    assert page.locator(".evidence > *").count() == 0, "what nobody has opened is filled in"

"""Light and dark, a phone, and what does not see the page: colours, widths, names, contrast."""

import pytest

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser

BACKGROUND = "getComputedStyle(document.body).backgroundColor"


def lightness(colour):
    return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")) / (3 * 255)


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_the_page_is_as_the_system_is_until_the_button_says_otherwise(open_page, report, scheme, dark):
    page = open_page(report, color_scheme=scheme)
    assert (lightness(page.evaluate(BACKGROUND)) < 0.5) is dark
    this, other = ("Dark theme", "Light theme") if dark else ("Light theme", "Dark theme")
    page.get_by_role("button", name=other).focus()
    page.keyboard.press("Enter")
    assert (lightness(page.evaluate(BACKGROUND)) < 0.5) is not dark
    button = page.get_by_role("button", name=this)
    assert button.evaluate("(each) => each === document.activeElement")
    assert button.get_attribute("aria-pressed") is None, "the name tells what it does, and the state the reverse"
    page.reload()
    assert (lightness(page.evaluate(BACKGROUND)) < 0.5) is not dark, "the choice is forgotten"
    page.get_by_role("button", name=this).wait_for()


def test_pictures_take_the_colours_of_the_theme(open_page, report, drawn):
    page = open_page(report, "#target-2", color_scheme="light")
    plot = page.locator("#target-2 .plot").first
    drawn(plot)
    tick = plot.locator(".xtick text").first
    before = tick.evaluate("(each) => getComputedStyle(each).fill")
    page.get_by_role("button", name="Dark theme").click()
    sync_api.expect(tick).not_to_have_css("fill", before)
    assert lightness(tick.evaluate("(each) => getComputedStyle(each).fill")) > 0.5 > lightness(before)


def overflow(page):
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


@pytest.mark.parametrize("width", [320, 360, 1280])
def test_the_page_itself_never_scrolls_sideways(open_page, report, drawn, width):
    page = open_page(report, "#target-2", viewport={"width": width, "height": 740}, has_touch=width < 500)
    drawn(page.locator("#target-2 .plot"))
    page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    page.locator("#target-3 .groups").wait_for()
    assert overflow(page) == 0


def test_a_page_that_scrolls_sideways_is_seen(open_page, report):
    page = open_page(report.replace("<main>", "<main style='width: 600px'>"), viewport={"width": 360, "height": 740})
    assert overflow(page) > 0


def test_what_is_printed_is_light_and_shows_the_whole_table(open_page, report):
    page = open_page(report, color_scheme="dark")
    page.emulate_media(media="print")
    assert lightness(page.evaluate("getComputedStyle(document.querySelector('h1')).color")) < 0.5
    assert page.locator(".controls").is_hidden()
    assert page.locator("#results .wide").evaluate("(each) => getComputedStyle(each).overflowY") == "visible"


def test_nothing_moves_where_motion_is_not_wanted(open_page, report):
    page = open_page(report, reduced_motion="reduce")
    moving = "[...document.querySelectorAll('*')].filter((each) => getComputedStyle(each).transitionDuration !== '0s')"
    assert page.evaluate(f"{moving}.length") == 0


def violations(page):
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{each['id']}: {node['html'][:120]} {node['failureSummary'][:300]}" for each in found for node in each["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(open_page, report, drawn, scheme):
    page = open_page(report, "#target-2", color_scheme=scheme)
    drawn(page.locator("#target-2 .plot"))
    page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    assert violations(page) == []


@pytest.mark.parametrize(
    ("sound", "planted", "rule"),
    [
        ("--soft: light-dark(#545d69", "--soft: light-dark(#b4bdc9", "color-contrast"),
        ('<html lang="en">', "<html>", "html-has-lang"),
        ('<label for="state">', "<label>", "select-name"),
        ('role="img" aria-label=', 'role="img" data-label=', "svg-img-alt"),
    ],
)
def test_axe_finds_what_is_planted(open_page, report, sound, planted, rule):
    assert sound in report
    page = open_page(report.replace(sound, planted), color_scheme="light")
    assert any(each.startswith(rule) for each in violations(page))


def test_focus_can_be_seen(open_page, report):
    page = open_page(report)
    for element in ("#theme", "#search", "#matrix thead button", "#matrix tbody a", ".target > summary"):
        page.locator(element).first.focus()
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Tab")
        style = page.evaluate(
            "[getComputedStyle(document.activeElement)].map((it) => [it.outlineStyle, it.outlineWidth])[0]"
        )
        assert style[0] != "none", element
        assert float(style[1].removesuffix("px")) >= 2, element

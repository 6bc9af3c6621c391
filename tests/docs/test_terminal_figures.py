"""The pictures of the terminal show what the commands print now, up to numbers, and fetch nothing."""

import importlib.util
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = load(ROOT / "scripts" / "draw_terminal.py")


def words_of(text):
    """The words, every one with a digit in it as its shape: versions and distances vary with the machine."""
    return [re.sub(r"\d\S*", "#", word) for word in text.split() if set(word) != {"\u2500"}]


def words_shown(svg):
    """The words of a picture, without the command above: line by line, as it is drawn."""
    lines = {}
    for each in ElementTree.fromstring(svg).iter(f"{SVG}text"):
        lines.setdefault(float(each.get("y")), []).append((float(each.get("x")), each.text))
    drawn = [" ".join(text for _, text in sorted(parts)) for _, parts in sorted(lines.items())]
    return words_of(" ".join(drawn[1:]))


@pytest.fixture(params=script.FIGURES_DRAWN, ids=lambda figure: figure.name)
def figure(request):
    return request.param


@pytest.fixture
def committed(figure):
    return (script.FIGURES / figure.name).read_text(encoding="utf-8")


def test_it_shows_what_the_command_prints(figure, committed, tmp_path):
    printed = script.printed(figure, tmp_path, coloured=False)
    assert words_shown(committed) == words_of(printed)


def test_it_needs_nothing_but_itself(committed):
    addresses = set(re.findall(r"[a-z]+://[^\s\"')<]+", committed))
    assert addresses == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@font-face|@import|<script|<image|href=|url\((?!#)", committed)


def test_it_says_what_it_shows(figure, committed):
    root = ElementTree.fromstring(committed)
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert (title.text, description.text) == (figure.command, figure.description)
    assert root.get("role") == "img"
    assert root.get("aria-labelledby").split() == [title.get("id"), description.get("id")]


def test_it_is_drawn_alike_every_time(figure):
    output = "\x1b[1;31mNO\x1b[0m plain \x1b[2mdim\x1b[0m\n"
    assert script.svg_of(figure, output) == script.svg_of(figure, output)


def luminance(hexadecimal):
    """Relative luminance of a colour, as WCAG 2 defines it."""
    parts = [int(hexadecimal[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_every_colour_is_legible_on_the_ground_of_the_picture(committed):
    ground = luminance(re.search(r'<rect fill="(#\w{6})"', committed)[1])
    colours = re.findall(r"^\.[\w-]+-r\d+ \{ fill: (#\w{6})", committed, re.MULTILINE)
    assert colours
    for colour in colours:
        assert (ground + 0.05) / (luminance(colour) + 0.05) >= 4.5, colour


def test_a_command_that_ends_otherwise_draws_nothing(tmp_path):
    wrong = script.Figure("none.svg", "optconform explain OC000", 0, "")
    with pytest.raises(RuntimeError, match="ended with 2, expected 0"):
        script.printed(wrong, tmp_path, coloured=False)

"""scripts/draw_report.py draws the report, and what is committed of it is small enough for a page."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("playwright")
pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
MOST_BYTES = 300_000
PNG = b"\x89PNG\r\n\x1a\n"


def width_of(picture):
    return int.from_bytes(picture[16:20], "big")


def test_it_draws_light_dark_phone_and_a_section(tmp_path):
    command = [sys.executable, ROOT / "scripts" / "draw_report.py", tmp_path, "--framework", "numpy"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "no picture of l2" in done.stderr
    widths = {file.name: width_of(file.read_bytes()) for file in tmp_path.glob("*.png")}
    assert widths.pop("report-decoupled.png") > 1000
    assert widths == {"report-light.png": 1280, "report-dark.png": 1280, "report-phone.png": 720}


@pytest.mark.parametrize("name", ["light", "dark", "phone", "decoupled", "l2"])
def test_what_is_committed_is_a_small_picture_that_the_page_shows(name):
    picture = (ROOT / "docs" / "figures" / f"report-{name}.png").read_bytes()
    assert picture.startswith(PNG)
    assert len(picture) < MOST_BYTES
    assert f"](figures/report-{name}.png)" in (ROOT / "docs" / "report.md").read_text(encoding="utf-8")

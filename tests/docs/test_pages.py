"""Pages that make files do what they say: files, edits, commands, exit statuses, outputs."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("run_pages", ROOT / "scripts/run_pages.py")
run_pages = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = run_pages  # dataclasses look their own module up
SPEC.loader.exec_module(run_pages)

COMMAND = """
```sh
python greeting.py
```

```text
{shown}
```
"""
PAGE = 'Put this into `greeting.py`:\n\n```python\nname = "you"\nprint("good", name, 1.25)\n```\n' + COMMAND


@pytest.mark.parametrize("page", run_pages.PAGES)
def test_page_does_what_it_says(page, tmp_path):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert any(isinstance(step, run_pages.File) for step in run_pages.steps(text))
    assert run_pages.differences(text, tmp_path) == []


@pytest.mark.parametrize(
    ("shown", "same"),
    [
        ("good you 1.25", True),
        ("good you   7.5e-3", True),
        ("...\ngood you 1.25", True),
        ("good me 1.25", False),
        ("good you 1.25\nand more", False),
        ("good you", False),
    ],
)
def test_outputs_are_compared(tmp_path, shown, same):
    assert (run_pages.differences(PAGE.format(shown=shown), tmp_path) == []) == same


def test_outputs_are_renewed(tmp_path):
    assert run_pages.renewed(PAGE.format(shown="bad"), tmp_path) == PAGE.format(shown="good you 1.25")


def test_edits_are_made(tmp_path):
    edit = '\nThen, in `greeting.py`:\n\n```diff\n-name = "you"\n+name = "me"\n print("good", name, 1.25)\n```\n'
    text = PAGE.format(shown="good you 1.25") + edit + COMMAND.format(shown="good me 1.25")
    assert run_pages.differences(text, tmp_path) == []


def test_an_edit_of_what_is_not_there(tmp_path):
    text = PAGE.format(shown="good you 1.25") + "\nIn `greeting.py`:\n\n```diff\n-nothing\n```\n"
    with pytest.raises(ValueError, match=r"greeting\.py holds 0 times, expected once"):
        run_pages.differences(text, tmp_path)


def test_another_status_is_an_error(tmp_path):
    text = PAGE.format(shown="good you 1.25").replace("python greeting.py", "python greeting.py    # exit 3")
    with pytest.raises(ValueError, match="exit status 0, expected 3"):
        run_pages.differences(text, tmp_path)


def test_an_unknown_program_is_an_error(tmp_path):
    text = PAGE.format(shown="good you 1.25").replace("python greeting.py", "ls")
    with pytest.raises(ValueError, match="ls: expected one of optconform, pytest, python"):
        run_pages.differences(text, tmp_path)

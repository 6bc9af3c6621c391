"""benchmarks/survey.py takes a survey and makes the table of the documentation; the committed table is of its data."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "survey.py"
DATA, PAGE = ROOT / "docs" / "survey.json", ROOT / "docs" / "survey.md"
LIBRARY = "optconform.adapters.numpy_optimizers"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("survey_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def page(tmp_path, script):
    path = tmp_path / "page.md"
    path.write_text(f"before\n{script.BEGIN}\nold\n{script.END}\nafter\n")
    return path


def test_one_document_a_data_file_and_a_table(script, capsys, tmp_path, page, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data.json"
    script.main([LIBRARY, "--jobs", "1", "--data", str(data), "--page", str(page)])
    document = json.loads(capsys.readouterr().out)
    assert (document["optimizers"], document["verdicts"]) == (2, {"decoupled": 2})
    assert document["unexplained"] == []
    assert document["requirement"]["met"] is False, "two optimizers are no survey of 200"
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "| AdamW | decoupled |" in text
    assert "old" not in text
    first = page.read_text()
    script.main(["--read", str(data), "--page", str(page)])
    assert page.read_text() == first


def test_a_page_without_marks_is_refused(script):
    with pytest.raises(ValueError, match="tables: begin"):
        script.renewed("nothing here", {})


@pytest.mark.parametrize("arguments", [[], [LIBRARY, "--read", "x.json"]])
def test_libraries_or_a_file(script, capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        script.main(arguments)
    assert ended.value.code == 2
    assert "--read" in capsys.readouterr().err


def test_the_table_of_the_page_is_made_of_the_data_beside_it(script):
    document = json.loads(DATA.read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    assert script.renewed(page, document) == page
    assert script.written(script.compact(document)) == DATA.read_text(encoding="utf-8")


def test_the_committed_survey_meets_what_is_asked_of_it():
    results = json.loads(DATA.read_text(encoding="utf-8"))["results"]
    assert len(results) >= 220
    silent = [each for each in results if each["verdict"] in ("other", "inconclusive", "error") and not each["reason"]]
    assert not silent

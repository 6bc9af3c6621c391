"""The survey itself: results are kept by what they depend on, and reported as JSON, Markdown and text."""

import json
import os
import time
from importlib import resources

import jsonschema
import pytest
from referencing import Registry, Resource

from optconform.conformance import survey_cache
from optconform.conformance.api import make_subject
from optconform.conformance.audit import audit
from optconform.conformance.reports.console import recording_console
from optconform.conformance.reports.survey import markdown_of, print_survey
from optconform.conformance.survey import depends_on, entries_of, read_report, run_survey, survey_report
from optconform.conformance.survey_cache import Cache, key_of
from optconform.conformance.survey_exports import Export, Library
from optconform.conformance.traces import synthetic_trace

NUMPY = Library(
    "optconform.adapters.numpy_optimizers",
    {"numpy": "2", "pkg": "1.0"},
    (Export("AdamW", "numpy", ("Also",)), Export("SGDW", "numpy")),
)
ABSENT = Library("nowhere", problem="it is not installed: pip install nowhere")
TRACES = (synthetic_trace("small"),)
SETTINGS = {"timeout": 60.0}


class Counting:
    """A runner in this process that counts what it is asked to run, in the reverse order of the plan."""

    def __init__(self, stop_after=None):
        self.ran = []
        self.stop_after = stop_after

    def __call__(self, plan):
        for index, planned in reversed(list(enumerate(plan))):
            if self.stop_after is not None and len(self.ran) >= self.stop_after:
                raise KeyboardInterrupt
            self.ran.append(planned.spec.rpartition(":")[2])
            subject = make_subject(planned.spec, framework=planned.framework, dtype=planned.dtype)
            yield index, audit(subject, TRACES, planned.expectation, ("synthetic:small",))


@pytest.fixture
def cache(tmp_path):
    store = Cache(tmp_path / "kept")
    store.prepare()
    return store


@pytest.fixture
def survey(cache):
    def run(runner, libraries=(NUMPY,), settings=SETTINGS, traces=TRACES):
        return list(run_survey(entries_of(libraries), traces, cache, runner, settings))

    return run


def test_a_second_survey_repeats_nothing(survey):
    first, second = Counting(), Counting()
    taken = survey(first)
    again = survey(second)
    assert first.ran == ["SGDW", "AdamW"]
    assert second.ran == []
    assert [each.kept for each in again] == [True, True]
    key = lambda each: each.entry.export.name  # noqa: E731
    assert [e.result for e in sorted(again, key=key)] == [e.result for e in sorted(taken, key=key)]


def test_an_interrupted_survey_loses_nothing(survey):
    first, second = Counting(stop_after=1), Counting()
    with pytest.raises(KeyboardInterrupt):
        survey(first)
    survey(second)
    assert (first.ran, second.ran) == (["SGDW"], ["AdamW"])


@pytest.mark.parametrize(
    "change",
    [
        {"libraries": (Library(NUMPY.name, {"numpy": "2", "pkg": "1.1"}, NUMPY.exports),)},
        {"traces": (synthetic_trace("small", seed=1),)},
        {"settings": {"timeout": 61.0}},
    ],
    ids=["version", "trace", "settings"],
)
def test_what_a_result_depends_on_makes_it_another(survey, change):
    survey(Counting())
    again = Counting()
    survey(again, **change)
    assert again.ran == ["SGDW", "AdamW"]


@pytest.mark.parametrize("found_by", ["source_digest", "platform.python_version"])
def test_this_package_and_python_are_among_what_results_depend_on(survey, monkeypatch, found_by):
    survey(Counting())
    monkeypatch.setattr(f"optconform.conformance.survey.{found_by}", lambda: "changed")
    again = Counting()
    survey(again)
    assert len(again.ran) == 2


def test_the_digest_of_this_package_covers_its_files(tmp_path, monkeypatch):
    assert survey_cache.source_digest() == survey_cache.source_digest()
    (tmp_path / "conformance").mkdir()
    (tmp_path / "conformance" / "x.py").write_text("x = 1\n")
    monkeypatch.setattr(survey_cache, "__file__", str(tmp_path / "conformance" / "survey_cache.py"))
    one = survey_cache.source_digest.__wrapped__()
    (tmp_path / "conformance" / "x.py").write_text("x = 2\n")
    assert survey_cache.source_digest.__wrapped__() != one


def test_keys_do_not_depend_on_the_order_of_entries():
    assert key_of({"a": 1, "b": {"c": 2, "d": 3}}) == key_of({"b": {"d": 3, "c": 2}, "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 2})
    assert len(key_of({"a": {1, 2}.__class__})) == 64


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"depends_on": {}, "result": {}}', "null"])
def test_a_damaged_file_is_as_good_as_none(survey, cache, content):
    survey(Counting())
    (entry,) = [each for each in entries_of([NUMPY]) if each.export.name == "AdamW"]
    (cache.folder / f"{key_of(depends_on(entry, TRACES, SETTINGS))}.json").write_text(content)
    again = Counting()
    survey(again)
    assert again.ran == ["AdamW"]


def test_what_is_written_is_whole_or_not_there(cache):
    with pytest.raises(ValueError, match="JSON"):
        cache.write({"a": 1}, {"value": float("nan")})
    assert list(cache.folder.iterdir()) == []
    cache.write({"a": 1}, {"value": 1.0})
    assert cache.read({"a": 1}) == {"value": 1.0}
    assert cache.read({"a": 2}) is None
    assert len(list(cache.folder.iterdir())) == 1


def test_what_a_killed_survey_left_unfinished_is_cleared_and_what_is_being_written_is_not(cache):
    abandoned, current = cache.folder / ".partial-old", cache.folder / ".partial-new"
    for file in (abandoned, current):
        file.write_text("{")
    long_ago = time.time() - 86400.0
    os.utime(abandoned, (long_ago, long_ago))
    cache.prepare()
    assert [path.name for path in cache.folder.iterdir()] == [".partial-new"]


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"--cache .*file"):
        Cache(tmp_path / "file").prepare()


def test_the_user_s_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert survey_cache.default_folder() == tmp_path / "optconform" / "survey"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert survey_cache.default_folder() == tmp_path / ".cache" / "optconform" / "survey"


@pytest.fixture
def report(survey):
    return survey_report((NUMPY, ABSENT), survey(Counting()))


def test_results_are_in_the_order_of_the_library(report):
    assert [each.entry.export.name for each in report.surveyed] == ["AdamW", "SGDW"]


def test_nothing_is_expected_so_only_what_could_not_run_fails(report, survey):
    assert report.exit_status == 3, "a library is missing"
    assert survey_report((NUMPY,), report.surveyed).exit_status == 0
    broken = [dict(each.result) | {"verdict": "other", "exit_status": 1} for each in report.surveyed]
    for each, result in zip(report.surveyed, broken, strict=True):
        object.__setattr__(each, "result", result)
    assert survey_report((NUMPY,), report.surveyed).exit_status == 0


def test_json_follows_the_schema_and_reads_back(report):
    schemas = {
        name: json.loads(
            resources.files("optconform.conformance").joinpath(f"schema/{name}-1.schema.json").read_text("utf-8")
        )
        for name in ("audit", "survey")
    }
    registry = Registry().with_resource(schemas["audit"]["$id"], Resource.from_contents(schemas["audit"]))
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    validator = jsonschema.Draft202012Validator(schemas["survey"], registry=registry)
    validator.validate(document)
    assert read_report(document).to_json() == document
    described = schemas["survey"]["properties"]
    library = described["libraries"]["items"]["properties"]
    assert set(document) == set(described)
    assert set(document["libraries"][0]) == set(library)
    assert set(document["libraries"][0]["exports"][0]) == set(library["exports"]["items"]["properties"])
    del document["libraries"][0]["versions"]
    assert not validator.is_valid(document)


def test_another_document_is_no_survey():
    with pytest.raises(ValueError, match="optconform/survey/1"):
        read_report({"schema": "optconform/check/1"})


def test_markdown_holds_one_row_an_optimizer(report):
    text = markdown_of(report)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert rows[0].count("|") == rows[1].count("|") == rows[-1].count("|")
    assert "| AdamW | decoupled | lr\\*wd | previous, explicit | outside |" in text
    assert "also Also" in text
    assert "2 optimizers of 1 of 2 libraries: 2 decoupled." in text
    assert "nowhere: not surveyed; it is not installed: pip install nowhere" in text


def test_names_from_elsewhere_stay_in_their_cell(report):
    document = report.to_json()
    document["results"][0] |= {"verdict": "error", "reason": "a | b `c` <d>\n\x1b[31m*e*"}
    row = next(line for line in markdown_of(read_report(document)).splitlines() if line.startswith("| AdamW"))
    assert "a \\| b \\`c\\` \\<d\\>\\\\n\\\\x1b\\[31m\\*e\\*" in row


def test_text_shows_every_optimizer_and_what_is_missing(report):
    console, buffer = recording_console()
    print_survey(console, report)
    text = buffer.getvalue()
    assert all(word in text for word in ("AdamW", "SGDW", "pip install nowhere", "2 optimizers of 1 of 2 libraries"))

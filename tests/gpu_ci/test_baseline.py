"""A baseline reads back as it was written, and anything else is refused with what is wrong and what to do."""

import copy
import dataclasses
import hashlib
import json
import math
from importlib import resources
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optconform.conformance.cli.main import cli, main
from optconform.conformance.measured import Apart
from optconform.conformance.result import Verdict
from optconform.gpu_ci.baseline import (
    MAX_BYTES,
    BaselineCase,
    BaselineError,
    baseline_case,
    baseline_of,
    format_baseline,
    parse_baseline,
    read_baseline,
    write_baseline,
)
from optconform.gpu_ci.baseline_fields import APART, CASE, DOCUMENT, PLACE

SCHEMA = json.loads(resources.files("optconform.gpu_ci").joinpath("schema/baseline-1.schema.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
NAME = "numpy/AdamW/default/float32/loop/synthetic:mixed"
SKIPPED = "torch/AdamW/default/float32/loop/synthetic:mixed"


@pytest.fixture(scope="session")
def baseline(made):
    apart = Apart(3.5, 0.5, 0.25, 60, "loop on cpu")
    return baseline_of(
        made.run(
            made.ran(from_cpu=apart),
            made.ran(made.case("SGDW", slow=True), rival_ratio=math.inf),
            made.ran(made.case("Odd"), ratio=0.0, rule=None, rival_ratio=None, verdict=Verdict.INCONCLUSIVE),
            made.skipped(made.case(runtime="torch")),
            place=made.GPU,
        )
    )


def signed(document):
    """`document` with the digest that fits: what a forger writes who knows how."""
    rest = {key: value for key, value in document.items() if key != "sha256"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return json.dumps({**rest, "sha256": hashlib.sha256(text.encode()).hexdigest()}).encode()


def refusal(raw):
    with pytest.raises(BaselineError) as caught:
        parse_baseline(raw, "cpu.json")
    message = str(caught.value)
    assert message.startswith("cpu.json: found ")
    assert "; expected " in message
    assert "--update-baseline" in message
    return message


class TestForm:
    def test_it_reads_back_as_it_was_written(self, baseline, made):
        assert parse_baseline(format_baseline(baseline).encode(), "file") == baseline
        assert baseline.place == dataclasses.replace(made.GPU, device="")
        assert baseline.cases[SKIPPED] == BaselineCase(
            made.case(runtime="torch").definition, skipped="no such way here"
        )

    @given(
        ratio=st.floats(0, 1),
        rival=st.none() | st.floats(0, allow_nan=False),
        share=st.floats(0, 1, exclude_min=True),
        median=st.floats(0, 2.0**40),
        flags=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
        reproducible=st.none() | st.booleans(),
    )
    def test_every_figure_survives(self, made, ratio, rival, share, median, flags, reproducible):
        apart = Apart(2.0**40, median, share, 60, "loop on cpu")
        measured = made.ran(ratio=ratio, rival_ratio=rival, from_cpu=apart, flags=flags, reproducible=reproducible)
        made_of = baseline_of(made.run(measured))
        assert parse_baseline(format_baseline(made_of).encode(), "file") == made_of

    def test_the_text_is_one_whatever_the_order(self, made):
        results = [made.ran(made.case(target)) for target in ("A", "B", "C")]
        one, other = (format_baseline(baseline_of(made.run(*each))) for each in (results, results[::-1]))
        assert one == other
        assert max(map(len, one.splitlines())) < 200
        assert one.count("\n") == 9 + 3 * 9

    def test_line_ends_and_spaces_are_nobodys_forgery(self, baseline):
        text = format_baseline(baseline)
        assert parse_baseline(text.replace("\n", "\r\n").encode(), "file") == baseline
        assert parse_baseline(json.dumps(json.loads(text)).encode(), "file") == baseline

    def test_a_case_without_a_rule_has_no_ratio(self, made):
        rejected = made.ran(rule=None, ratio=900.0, verdict=Verdict.OTHER)
        assert baseline_case(rejected).bound_ratio is None


class TestSchema:
    def test_what_is_written_is_valid(self, baseline):
        jsonschema.Draft202012Validator.check_schema(SCHEMA)
        VALIDATOR.validate(json.loads(format_baseline(baseline)))

    def test_every_field_is_described_and_checked(self):
        fields = {field.name for field in dataclasses.fields(BaselineCase)}
        assert fields == CASE.keys() == SCHEMA["$defs"]["case"]["properties"].keys()
        assert APART.keys() == SCHEMA["$defs"]["apart"]["properties"].keys()
        assert {field.name for field in dataclasses.fields(Apart)} == APART.keys()
        assert PLACE.keys() == SCHEMA["properties"]["place"]["properties"].keys()
        assert {"schema", *DOCUMENT} == SCHEMA["properties"].keys()

    def test_fields_may_be_added(self, baseline):
        document = json.loads(format_baseline(baseline))
        document["later"] = document["cases"][NAME]["later"] = 1
        VALIDATOR.validate(document)
        assert parse_baseline(signed(document), "file") == baseline


def _set(*path_and_value):
    *above, last, value = path_and_value

    def change(document):
        for key in above:
            document = document[key]
        document[last] = value

    return change


def _without(*path):
    *above, last = path

    def change(document):
        for key in above:
            document = document[key]
        del document[last]

    return change


def _renamed(name):
    def change(document):
        document["cases"][name] = document["cases"].pop(NAME)

    return change


def _in_case(key, value):
    return _set("cases", NAME, key, value)


IMPOSSIBLE = {
    "no date": (_without("date"), "no 'date' in the document"),
    "a date that is none": (_set("date", "2026-02-30"), "'date' = \"2026-02-30\""),
    "no place": (_set("place", None), "'place' = null"),
    "no class": (_set("place", "device_class", ""), "'device_class'"),
    "details that are no text": (_set("place", "details", {"memory": 1}), "'details'"),
    "cases as a list": (_set("cases", []), "'cases' = []"),
    "no case": (_set("cases", {}), "no case that ran"),
    "a case that is none": (_set("cases", NAME, 1), "1 as case"),
    "a missing figure": (_without("cases", NAME, "bits"), f"no 'bits' in case '{NAME}'"),
    "too few parts": (_renamed("numpy/AdamW"), "runtime/target/setting"),
    "an unknown runtime": (_renamed(NAME.replace("numpy", "theano")), "theano/AdamW"),
    "a name with control characters": (_renamed(NAME + "\x1b[31m"), "\\x1b[31m"),
    "an empty part": (_renamed(NAME.replace("AdamW", "")), "numpy//default"),
    "outside the bound": (_in_case("bound_ratio", 1.0000000001), "1.0000000001"),
    "a ratio below zero": (_in_case("bound_ratio", -0.1), "-0.1"),
    "a ratio as text": (_in_case("bound_ratio", "0.4"), '"0.4"'),
    "a ratio that is true": (_in_case("bound_ratio", True), "true"),
    "a rule without a ratio": (_in_case("bound_ratio", None), "one of 'rule' and 'bound_ratio'"),
    "a ratio without a rule": (_in_case("rule", None), "one of 'rule' and 'bound_ratio'"),
    "a rival of no name": (_in_case("rival", None), "'rival_ratio'"),
    "a rival beyond doubles": (_in_case("rival_ratio", 10**400), "'rival_ratio'"),
    "an unknown verdict": (_in_case("verdict", "fine"), '"fine"'),
    "an error": (_in_case("verdict", "error"), '"error"'),
    "no verdict": (_in_case("verdict", None), "'verdict' = null"),
    "short bits": (_in_case("bits", "ab" * 31), "64 hexadecimal digits"),
    "bits in capitals": (_in_case("bits", "AB" * 32), "64 hexadecimal digits"),
    "no bits": (_in_case("bits", ""), "since it ran"),
    "no trace": (_in_case("trace", ""), "'trace' = \"\""),
    "a definition that is none": (_in_case("definition", "x"), "'definition'"),
    "slow as a number": (_in_case("slow", 0), "'slow' = 0"),
    "versions that are no text": (_in_case("versions", {"numpy": 2}), "'versions'"),
    "figures of what was skipped": (_in_case("skipped", "why not"), "figures of what was skipped"),
    "a distance that is none": (_set("cases", NAME, "from_cpu", 3), "'from_cpu' = 3"),
    "a negative distance": (_set("cases", NAME, "from_cpu", "largest", -0.5), "'largest' = -0.5"),
    "a share above one": (_set("cases", NAME, "from_cpu", "share", 1.5), "'share' = 1.5"),
    "a median beyond the largest": (_set("cases", NAME, "from_cpu", "median", 4.0), "contradicts itself"),
    "a share of nothing": (_set("cases", NAME, "from_cpu", "share", 0.0), "contradicts itself"),
}
BEYOND_A_SCHEMA = {
    "a date that is none",
    "an unknown runtime",
    "a name with control characters",
    "a rule without a ratio",
    "a ratio without a rule",
    "a rival of no name",
    "a rival beyond doubles",
    "a median beyond the largest",
    "a share of nothing",
}
"""Contents that contradict themselves, or what this version knows; the schema does not say so."""


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_impossible_contents_are_refused_however_well_signed(baseline, what):
    change, named = IMPOSSIBLE[what]
    document = json.loads(format_baseline(baseline))
    parse_baseline(signed(document), "cpu.json")
    change(document)
    assert named in refusal(signed(document))
    assert VALIDATOR.is_valid(document) == (what in BEYOND_A_SCHEMA)


def test_only_skipped_cases_are_no_baseline(made):
    assert "no case that ran, of 1" in refusal(format_baseline(baseline_of(made.run(made.skipped()))).encode())


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (b"", "no valid JSON"),
        (b"\xff\xfe{", "no valid JSON"),
        (b"{", "no valid JSON"),
        (b"[]", "schema None"),
        (b"null", "schema None"),
        (b'{"schema": "optconform/baseline/2"}', "schema 'optconform/baseline/2'"),
        (b'{"schema": ["optconform/baseline/1"]}', "schema ['optconform/baseline/1']"),
        (b'{"schema": "optconform/baseline/1", "schema": "optconform/baseline/1"}', "the key 'schema' twice"),
        (b'{"schema": "optconform/baseline/1", "date": NaN}', "non-finite number NaN"),
        (b'{"schema": "optconform/baseline/1", "date": 1e999}', "non-finite number 1e999"),
        (b"[" * 100_000, "no valid JSON"),
        (b" " * (MAX_BYTES + 1), f"more than {MAX_BYTES} bytes"),
    ],
    ids=lambda value: str(value[:30]) if isinstance(value, bytes) else None,
)
def test_what_is_no_baseline_is_refused(raw, named):
    assert named in refusal(raw)


class TestDigest:
    def test_an_edit_by_hand_is_noticed(self, baseline):
        text = format_baseline(baseline)
        edited = text.replace('"bound_ratio": 0.4,', '"bound_ratio": 0.9,')
        assert edited != text
        message = refusal(edited.encode())
        assert "'sha256' = " in message
        assert "which were changed since" in message

    def test_a_case_taken_out_is_noticed(self, baseline):
        document = json.loads(format_baseline(baseline))
        del document["cases"][NAME]
        assert "'sha256'" in refusal(json.dumps(document).encode())

    @given(data=st.data())
    def test_no_changed_byte_changes_what_is_read(self, baseline, data):
        raw = bytearray(format_baseline(baseline).encode())
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.integers(0, 255))
        try:
            read = parse_baseline(bytes(raw), "file")
        except BaselineError:
            return
        assert read == baseline


class TestFiles:
    def test_it_is_written_and_read(self, baseline, tmp_path):
        path = tmp_path / "gpu.json"
        write_baseline(baseline, path)
        assert path.read_text("utf-8") == format_baseline(baseline)
        assert read_baseline(path) == baseline
        assert [each.name for each in tmp_path.iterdir()] == ["gpu.json"]

    def test_what_could_not_be_read_back_is_not_written(self, baseline, tmp_path):
        path = tmp_path / "gpu.json"
        path.write_text("before", encoding="utf-8")
        for ratio in (1.5, math.nan, math.inf):
            cases = copy.copy(baseline.cases) | {NAME: dataclasses.replace(baseline.cases[NAME], bound_ratio=ratio)}
            with pytest.raises(BaselineError, match=r"'bound_ratio' = .*; expected a number from 0 to 1"):
                write_baseline(dataclasses.replace(baseline, cases=cases), path)
        assert path.read_text("utf-8") == "before"

    def test_a_failure_leaves_the_old_file(self, baseline, tmp_path, monkeypatch):
        path = tmp_path / "gpu.json"
        path.write_text("before", encoding="utf-8")

        def full(self, target):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(BaselineError, match=r"gpu\.json cannot be written \(No space left on device\)"):
            write_baseline(baseline, path)
        assert path.read_text("utf-8") == "before"
        assert [each.name for each in tmp_path.iterdir()] == ["gpu.json"]

    def test_a_folder_that_is_not_there_is_named(self, baseline, tmp_path):
        with pytest.raises(BaselineError, match=r"absent.*name a file in a folder that exists"):
            write_baseline(baseline, tmp_path / "absent" / "gpu.json")

    def test_no_file_says_how_to_make_one(self, tmp_path):
        for path in (tmp_path / "absent.json", tmp_path):
            with pytest.raises(BaselineError, match="found no file; expected a baseline"):
                read_baseline(path)

    def test_too_large_a_file_is_not_read_whole(self, tmp_path):
        path = tmp_path / "huge.json"
        with path.open("wb") as stream:
            stream.truncate(10 * MAX_BYTES)
        with pytest.raises(BaselineError, match="found more than"):
            read_baseline(path)


def test_the_command_line_ends_with_2(monkeypatch, capsys):
    def refused(*arguments, **options):
        raise BaselineError("cpu.json: found no file; expected a baseline. Make one.")

    monkeypatch.setattr(cli, "main", refused)
    assert main([]) == 2
    assert capsys.readouterr().err == "Error: cpu.json: found no file; expected a baseline. Make one.\n"

"""A baseline: what every case measured on one class of devices, committed and read with suspicion.

The JSON document is `optconform/baseline/1`; `schema/baseline-1.schema.json` describes it. It is written in one form
only, sorted and a case in few lines, so that what an update changes can be read in a diff. Floats read back bit for
bit. `sha256` is a digest of all the rest: an edit by hand is noticed, and so is a merge that put two together.
A baseline can only add findings to a run. Nothing in it lets a case pass that is outside its bound.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .._version import __version__
from ..adapters.text import escape_control
from ..conformance.json_form import plain_fields, revive
from ..conformance.measured import Apart, Place
from ..conformance.reports.output import write_whole
from ..conformance.result import Verdict
from ..conformance.traces.errors import TraceError, printable
from ..conformance.traces.fields import decode
from .baseline_fields import APART, CASE, DOCUMENT, IMPOSSIBLE, PLACE, Table, is_case_name
from .gate_run import CaseResult, GateRun

SCHEMA = "optconform/baseline/1"
MAX_BYTES = 16 * 2**20
"""A case takes less than 1 kB, so more than ten thousand fit; a larger file is no baseline."""
REMEDY = (
    "Restore it from version control; to make it anew, remove it and run the gate with --update-baseline on a device "
    "of its class."
)


class BaselineError(OSError):
    """A baseline file cannot be read or written, or a run is not fit to become one."""


@dataclass(frozen=True, slots=True)
class BaselineCase:
    """What one case measured when the baseline was made; of one that was skipped, only that it was, and why."""

    definition: str
    """`Case.definition`: a case of another definition is another case."""
    slow: bool = False
    skipped: str = ""
    verdict: Verdict | None = None
    """None where it was skipped."""
    rule: str | None = None
    bound_ratio: float | None = None
    """At most 1; None where no rule was found, since the bound says nothing of any element."""
    rival: str | None = None
    rival_ratio: float | None = None
    from_cpu: Apart | None = None
    trace: str = ""
    """Digest of the trace that it was played on; empty where it was skipped."""
    bits: str = ""
    reproducible: bool | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    flags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Baseline:
    """All cases of one class of devices."""

    place: Place
    """Without the number of the device: it holds for every one of its class."""
    date: str
    """Day of the run, ISO 8601, UTC."""
    cases: Mapping[str, BaselineCase]
    """By `Case.name`."""
    optconform: str = __version__
    """The version that wrote it."""


def baseline_case(measured: CaseResult) -> BaselineCase:
    """Return what a baseline holds of one case of a run."""
    case, result, figures = measured.case, measured.result, measured.measured
    if measured.skipped:
        return BaselineCase(case.definition, case.slow, measured.skipped)
    return BaselineCase(
        case.definition,
        case.slow,
        verdict=result.verdict,
        rule=result.match.rule,
        bound_ratio=None if result.match.rule is None else result.match.bound_ratio,
        rival=result.separation.nearest_rival,
        rival_ratio=result.separation.rival_ratio,
        from_cpu=figures.from_cpu,
        trace=next((trace["sha256"] for trace in result.traces), ""),
        bits=figures.bits,
        reproducible=figures.reproducible,
        versions=dict(result.versions),
        flags=dict(figures.flags),
    )


def baseline_of(run: GateRun) -> Baseline:
    """Return the baseline that `run` alone would make; whether it is fit to be one is another question."""
    cases = {result.case.name: baseline_case(result) for result in run.results}
    return Baseline(replace(run.place, device=""), run.date, cases)


def read_baseline(path: Path) -> Baseline:
    """Return the baseline in the file `path`.

    Raises `BaselineError`, naming the file, the key, its value and what was expected, for a file that is not there or
    that is anything but a baseline as it was written: another schema, a wrong digest, contents that no run can have.
    """
    try:
        if not path.is_file():
            raise _refused(path, "no file", "a baseline", "Make one with --update-baseline, or name another file.")
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except BaselineError:
        raise
    except OSError as error:
        raise _refused(path, f"a file that cannot be read ({error.strerror})", "a baseline") from error
    return parse_baseline(raw, path)


def parse_baseline(raw: bytes, file: object) -> Baseline:
    """Return the baseline in `raw`, the content of `file`. Raises `BaselineError`, as `read_baseline` does."""
    if len(raw) > MAX_BYTES:
        raise _refused(file, f"more than {MAX_BYTES} bytes", f"at most {MAX_BYTES}")
    try:
        document = decode(raw, file)
    except TraceError as error:
        raise _refused(file, error.found, error.expected) from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise _refused(file, f"schema {printable(repr(schema))}", repr(SCHEMA))
    _check(document, DOCUMENT, "the document", file)
    _check(document["place"], PLACE, "'place'", file)
    cases = {name: _case(name, values, file) for name, values in document["cases"].items()}
    if all(case.skipped for case in cases.values()):
        raise _refused(file, f"no case that ran, of {len(cases)} in 'cases'", "at least one")
    digest = _digest(document)
    if document["sha256"] != digest:
        raise _refused(
            file, f"'sha256' = {document['sha256']}", f"{digest}, the digest of the contents, which were changed since"
        )
    place = revive(Place, {**document["place"], "device": ""})
    return Baseline(place, document["date"], cases, document["optconform"])


def write_baseline(baseline: Baseline, path: Path) -> None:
    """Write `baseline` to the file `path`, all of it or nothing.

    Raises `BaselineError` where it could not be read back as it is, or the file cannot be written.
    """
    text = format_baseline(baseline)
    parse_baseline(text.encode(), path)
    try:
        write_whole(text, path)
    except OSError as error:
        raise BaselineError(
            f"the baseline {escape_control(str(path))} cannot be written ({error.strerror}); "
            "name a file in a folder that exists"
        ) from error


def format_baseline(baseline: Baseline) -> str:
    """Return `baseline` as the text of its file, always the same for the same contents."""
    cases = {name: plain_fields(case) for name, case in sorted(baseline.cases.items())}
    place = {key: value for key, value in plain_fields(baseline.place).items() if key != "device"}
    head = {"schema": SCHEMA, "optconform": baseline.optconform, "date": baseline.date, "place": place}
    lines = [f" {_pairs(head, (key,))},\n" for key in head]
    body = ",\n".join(f"  {json.dumps(name)}: {_case_text(case)}" for name, case in cases.items())
    digest = _digest({**head, "cases": cases})
    return "{\n" + "".join(lines) + ' "cases": {\n' + body + f'\n }},\n "sha256": "{digest}"\n}}\n'


_LINES = (
    ("definition", "slow", "skipped"),
    ("verdict", "rule", "bound_ratio", "rival", "rival_ratio"),
    ("from_cpu",),
    ("trace",),
    ("bits", "reproducible"),
    ("versions",),
    ("flags",),
)
"""The fields of a case, line by line."""


def _case_text(values: Mapping[str, Any]) -> str:
    return "{\n" + ",\n".join(f"   {_pairs(values, keys)}" for keys in _LINES) + "\n  }"


def _pairs(values: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    return ", ".join(f"{json.dumps(key)}: {json.dumps(values[key], sort_keys=True)}" for key in keys)


def _digest(document: Mapping[str, Any]) -> str:
    """Return the digest of all of `document` but its own: spaces, line ends and the order of keys do not enter."""
    rest = {key: value for key, value in document.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _case(name: str, values: Any, file: object) -> BaselineCase:
    where = f"case '{printable(name)}'"
    if not is_case_name(name):
        raise _refused(file, where, "runtime/target/setting/dtype/execution/trace as a name, the runtime a known one")
    _check(values, CASE, where, file)
    if values["from_cpu"] is not None:
        _check(values["from_cpu"], APART, f"'from_cpu' of {where}", file)
    for is_so, found, expected in IMPOSSIBLE:
        if is_so(values):
            raise _refused(file, f"{found} in {where}", expected)
    case: BaselineCase = revive(BaselineCase, values)
    return case


def _check(values: Any, table: Table, where: str, file: object) -> None:
    """Raise `BaselineError` unless `values` is an object with every field of `table`, each as its row says."""
    if not isinstance(values, dict):
        raise _refused(file, f"{printable(repr(values))} as {where}", "an object")
    for key, (fits, expected) in table.items():
        if key not in values:
            raise _refused(file, f"no '{key}' in {where}", expected)
        if not fits(values[key]):
            raise _refused(file, f"'{key}' = {printable(json.dumps(values[key]))} in {where}", expected)


def _refused(file: object, found: str, expected: str, remedy: str = REMEDY) -> BaselineError:
    return BaselineError(f"{escape_control(str(file))}: found {found}; expected {expected}. {remedy}")

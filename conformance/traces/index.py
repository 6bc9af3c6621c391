"""`index.json`, the table of contents of a trace directory: reading it with suspicion, writing it.

The document (`optconform/trace/1`; fields may be added, none changes its meaning under this number):

    {"schema": "optconform/trace/1", "name": "..",
     "parameters": [{"name": "w", "shape": [16, 8], "dtype": "float32"}, ..],
     "multipliers": [1.0, ..],                                      one eta_t per step
     "missing": [{"step": 3, "last_step": 5, "parameters": ["w"]}, ..],   from step to last_step these had no gradient;
                                                                    without last_step in this step alone
     "initial": {"file": "..", "bytes": .., "sha256": ".."},        theta_0, each tensor in its own shape
     "gradients": [{"file": "..", "bytes": .., "sha256": "..", "first_step": 1, "last_step": 20}, ..],
     "provenance": {..}}

A gradient shard holds one tensor [last_step - first_step + 1, size] per parameter; the row of a step in which
the parameter had no gradient is zeros and is never handed out. A parameter that had none in any of the shard's steps
may be left out of it. These fields are there only where they say something:

     "sampled_from": [4096, 4096]     in a parameter: the shape of the tensor of which it holds some coordinates
     "coordinates": [{"file": ..}, ..]    for each such parameter int64 [size]: where its elements lie in that tensor
                                      (C order), rising; one file for each time that parameters joined
     "added": [{"file": ..}, ..]      theta of parameters that joined later, as it was then; "initial" holds the others
     "rows": {"file": ..}             in a gradient shard: its sparse parameters, for each int64 [n, 2], (step, row) in
                                      rising order; the gradient is then [n, size of a row], all other rows being zero
     "run": {..}                      what is known of the run it was recorded from; see `run`
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import TraceError, printable
from .fields import COPY_AGAIN, Fields, check_plain, decode, number
from .run import RecordedRun, format_run, parse_run
from .shards import Shard, check_coverage, check_files, format_shard, is_partial_name, is_shard_name, parse_shard
from .trace import Parameter, check_multipliers, check_parameters

SCHEMA = "optconform/trace/1"
SCHEMA_FAMILY = b"optconform/trace/"
"""What the schema of every version begins with."""
INDEX_FILE = "index.json"
MAX_INDEX_BYTES = 64 * 2**20
"""A million steps and tens of thousands of parameters fit; a larger index is no index."""


@dataclass(frozen=True, slots=True)
class Index:
    """A valid `index.json`. `missing` maps a step to the names of the parameters without a gradient in it."""

    name: str
    parameters: tuple[Parameter, ...]
    multipliers: tuple[float, ...]
    missing: Mapping[int, frozenset[str]]
    initial: Shard
    gradients: tuple[Shard, ...]
    provenance: Mapping[str, Any]
    coordinates: tuple[Shard, ...] = ()
    added: tuple[Shard, ...] = ()
    rows: Mapping[str, Shard] = field(default_factory=dict)
    """Name of a gradient shard's file -> the file with the rows of its sparse parameters, for those that have some."""
    run: RecordedRun | None = None

    @property
    def shards(self) -> tuple[Shard, ...]:
        """Every file of the trace besides the index."""
        run = () if self.run is None else self.run.shards
        return (self.initial, *self.added, *self.coordinates, *self.gradients, *self.rows.values(), *run)

    def absent(self, name: str, shard: Shard) -> bool:
        """Whether the parameter `name` had no gradient in any step of `shard`."""
        return all(name in self.missing.get(step, ()) for step in range(shard.first_step, shard.last_step + 1))


def is_trace_file(name: str) -> bool:
    """Whether a file called `name` can belong to a trace directory: also one that was never finished."""
    return name == INDEX_FILE or is_shard_name(name) or is_partial_name(name)


def format_index(index: Index) -> bytes:
    """`index` as the bytes of an `index.json`. Floats are written so that they read back bit for bit."""
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "name": index.name,
        "parameters": [_format_parameter(parameter) for parameter in index.parameters],
        "multipliers": list(index.multipliers),
        "missing": _format_missing(index),
        "initial": format_shard(index.initial),
        "gradients": [
            format_shard(shard) | ({"rows": format_shard(index.rows[shard.file])} if shard.file in index.rows else {})
            for shard in index.gradients
        ],
        "provenance": dict(index.provenance),
    }
    for key, shards in (("coordinates", index.coordinates), ("added", index.added)):
        if shards:
            document[key] = [format_shard(shard) for shard in shards]
    if index.run is not None:
        document["run"] = format_run(index.run)
    return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()


def _format_parameter(parameter: Parameter) -> dict[str, Any]:
    plain = {"name": parameter.name, "shape": list(parameter.shape), "dtype": parameter.dtype}
    return plain | ({} if parameter.sampled_from is None else {"sampled_from": list(parameter.sampled_from)})


def _format_missing(index: Index) -> list[dict[str, Any]]:
    """Steps in a row that miss the same parameters are one entry: a frozen layer would fill the index otherwise."""
    order = {p.name: i for i, p in enumerate(index.parameters)}
    entries: list[dict[str, Any]] = []
    before: tuple[int, frozenset[str]] | None = None
    for step, names in sorted(index.missing.items()):
        if before == (step - 1, names):
            entries[-1]["last_step"] = step
        else:
            entries.append({"step": step, "parameters": sorted(names, key=order.__getitem__)})
        before = step, names
    return entries


def parse_index(raw: bytes, file: object) -> Index:
    """The index in `raw`, the content of `file`. Raises `TraceError` for anything that is not exactly one."""
    document = Fields(decode(raw, file), "the document", file)
    schema = document.text("schema")
    if schema != SCHEMA:
        raise TraceError(
            file,
            f"schema '{printable(schema)}'",
            f"'{SCHEMA}'",
            "Read it with the version of optconform that wrote it, or record it again.",
        )
    parameters = tuple(_parameter(fields) for fields in document.objects("parameters"))
    check_parameters(parameters, file)
    known = frozenset(p.name for p in parameters)
    multipliers = tuple(number(value, "multipliers", file) for value in document.array("multipliers"))
    check_multipliers(multipliers, file)
    entries = list(document.objects("gradients"))
    gradients = tuple(parse_shard(fields, steps=True) for fields in entries)
    check_files(gradients, file)
    check_coverage(gradients, len(multipliers), file)
    index = Index(
        name=document.text("name"),
        parameters=parameters,
        multipliers=multipliers,
        missing=_missing(document, known, len(multipliers)),
        initial=parse_shard(document.object("initial")),
        gradients=gradients,
        provenance=_provenance(document),
        coordinates=_shards(document, "coordinates"),
        added=_shards(document, "added"),
        rows={
            shard.file: parse_shard(fields.object("rows"))
            for shard, fields in zip(gradients, entries, strict=True)
            if "rows" in fields
        },
        run=parse_run(document.object("run"), known, len(multipliers)) if "run" in document else None,
    )
    check_files(index.shards, file)
    for step in () if index.run is None else sorted(index.run.skipped):
        if index.missing.get(step) != known:
            raise TraceError(file, f"gradients in step {step}", "none in a step that was skipped", COPY_AGAIN)
    return index


def _provenance(document: Fields) -> Mapping[str, Any]:
    values = document.object("provenance").values
    check_plain(values, "provenance", document.file)
    return values


def _shards(document: Fields, key: str) -> tuple[Shard, ...]:
    return tuple(parse_shard(fields) for fields in document.objects(key)) if key in document else ()


def _parameter(fields: Fields) -> Parameter:
    name = fields.text("name")
    sampled_from = fields.integers("sampled_from", name) if "sampled_from" in fields else None
    return Parameter(name, fields.integers("shape", name), fields.text("dtype"), sampled_from)


def _missing(document: Fields, known: frozenset[str], n_steps: int) -> dict[int, frozenset[str]]:
    missing: dict[int, frozenset[str]] = {}
    for fields in document.objects("missing"):
        first = fields.natural("step")
        last = fields.natural("last_step") if "last_step" in fields else first
        if not 1 <= first <= last <= n_steps or not missing.keys().isdisjoint(range(first, last + 1)):
            raise TraceError(
                document.file,
                f"step {first if first == last else f'{first}..{last}'} in {fields.where}",
                f"each step of 1..{n_steps} at most once",
                COPY_AGAIN,
            )
        missing |= dict.fromkeys(range(first, last + 1), fields.names("parameters", known))
    return missing

"""`index.json`, the table of contents of a trace directory: reading it with suspicion, writing it.

The document (`optconform/trace/1`; fields may be added, none changes its meaning under this number):

    {"schema": "optconform/trace/1", "name": "..",
     "parameters": [{"name": "w", "shape": [16, 8], "dtype": "float32"}, ..],
     "multipliers": [1.0, ..],                                      one eta_t per step
     "missing": [{"step": 3, "parameters": ["w"]}, ..],             steps in which these had no gradient
     "initial": {"file": "..", "bytes": .., "sha256": ".."},        theta_0, each tensor in its own shape
     "gradients": [{"file": "..", "bytes": .., "sha256": "..", "first_step": 1, "last_step": 20}, ..],
     "provenance": {..}}

A gradient shard holds one tensor [last_step - first_step + 1, size] per parameter; the row of a step in which
the parameter had no gradient is zeros and is never handed out.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from .errors import TraceError, printable
from .trace import Parameter, check_multipliers, check_parameters

SCHEMA = "optconform/trace/1"
SCHEMA_FAMILY = b"optconform/trace/"
"""What the schema of every version begins with."""
INDEX_FILE = "index.json"
MAX_INDEX_BYTES = 64 * 2**20
"""A million steps and tens of thousands of parameters fit; a larger index is no index."""

_COPY_AGAIN = "The index is corrupt or was edited; copy or record the trace again."
_SHARD_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\.safetensors")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Shard:
    """One safetensors file: plain name, size in bytes, SHA-256, and the steps it holds (0..0 for theta_0)."""

    file: str
    bytes: int
    sha256: str
    first_step: int = 0
    last_step: int = 0

    @property
    def n_steps(self) -> int:
        """Rows of each tensor in a gradient shard."""
        return self.last_step - self.first_step + 1


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


def is_trace_file(name: str) -> bool:
    """Whether a file called `name` can belong to a trace directory."""
    return name == INDEX_FILE or _SHARD_NAME.fullmatch(name) is not None


def format_index(index: Index) -> bytes:
    """`index` as the bytes of an `index.json`. Floats are written so that they read back bit for bit."""
    order = {p.name: i for i, p in enumerate(index.parameters)}
    document = {
        "schema": SCHEMA,
        "name": index.name,
        "parameters": [{"name": p.name, "shape": list(p.shape), "dtype": p.dtype} for p in index.parameters],
        "multipliers": list(index.multipliers),
        "missing": [
            {"step": step, "parameters": sorted(names, key=order.__getitem__)}
            for step, names in sorted(index.missing.items())
        ],
        "initial": {"file": index.initial.file, "bytes": index.initial.bytes, "sha256": index.initial.sha256},
        "gradients": [
            {
                "file": shard.file,
                "bytes": shard.bytes,
                "sha256": shard.sha256,
                "first_step": shard.first_step,
                "last_step": shard.last_step,
            }
            for shard in index.gradients
        ],
        "provenance": dict(index.provenance),
    }
    return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()


def parse_index(raw: bytes, file: Path) -> Index:
    """The index in `raw`, the content of `file`. Raises `TraceError` for anything that is not exactly one."""
    document = _Fields(_decode(raw, file), "the document", file)
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
    multipliers = tuple(_number(value, file) for value in document.array("multipliers"))
    check_multipliers(multipliers, file)
    initial = _shard(document.object("initial"))
    gradients = tuple(_gradient_shard(fields) for fields in document.objects("gradients"))
    _check_files((initial, *gradients), file)
    _check_coverage(gradients, len(multipliers), file)
    return Index(
        name=document.text("name"),
        parameters=parameters,
        multipliers=multipliers,
        missing=_missing(document, parameters, len(multipliers)),
        initial=initial,
        gradients=gradients,
        provenance=document.object("provenance").values,
    )


def _decode(raw: bytes, file: Path) -> Any:
    def refuse_constant(text: str) -> NoReturn:
        raise ValueError(f"the non-finite number {text}")

    def finite(text: str) -> float:
        value = float(text)
        return value if math.isfinite(value) else refuse_constant(text)

    def refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise ValueError(f"the key '{printable(twice)}' twice in one object")
        return result

    try:
        return json.loads(
            raw.decode(), parse_constant=refuse_constant, parse_float=finite, object_pairs_hook=refuse_duplicates
        )
    except (ValueError, RecursionError) as error:
        raise TraceError(file, f"no valid JSON: {printable(error)}", "a JSON document", _COPY_AGAIN) from error


@dataclass(frozen=True, slots=True)
class _Fields:
    """A JSON object whose fields are asked for by name and type."""

    values: dict[str, Any]
    where: str
    file: Path

    def __post_init__(self) -> None:
        if not isinstance(self.values, dict):
            raise TraceError(self.file, f"{_kind(self.values)} as {self.where}", "an object", _COPY_AGAIN)

    def _typed(self, key: str, kind: type, expected: str) -> Any:
        value = self.values.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            found = f"{_kind(value)} as '{key}'" if key in self.values else f"no field '{key}'"
            raise TraceError(self.file, f"{found} in {self.where}", expected, _COPY_AGAIN)
        return value

    def text(self, key: str) -> str:
        value: str = self._typed(key, str, "a string")
        return value

    def natural(self, key: str) -> int:
        value: int = self._typed(key, int, "an integer")
        if value < 0:
            raise TraceError(self.file, f"'{key}' = {printable(value)} in {self.where}", "an integer >= 0", _COPY_AGAIN)
        return value

    def array(self, key: str) -> list[Any]:
        value: list[Any] = self._typed(key, list, "an array")
        return value

    def object(self, key: str) -> _Fields:
        return _Fields(self._typed(key, dict, "an object"), f"'{key}'", self.file)

    def objects(self, key: str) -> Iterable[_Fields]:
        return [_Fields(value, f"'{key}' entry {i}", self.file) for i, value in enumerate(self.array(key))]


_KINDS: Mapping[type, str] = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
}


def _kind(value: Any) -> str:
    return _KINDS[type(value)]


def _number(value: Any, file: Path) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            pass
    raise TraceError(file, f"{printable(value)} in 'multipliers'", "numbers in double precision", _COPY_AGAIN)


def _parameter(fields: _Fields) -> Parameter:
    name = fields.text("name")
    shape = fields.array("shape")
    for n in shape:
        if not isinstance(n, int) or isinstance(n, bool):
            raise TraceError(fields.file, f"{_kind(n)} in the shape", "integers", _COPY_AGAIN, name)
    return Parameter(name, tuple(shape), fields.text("dtype"))


def _shard(fields: _Fields) -> Shard:
    shard = Shard(fields.text("file"), fields.natural("bytes"), fields.text("sha256"))
    if not _SHARD_NAME.fullmatch(shard.file):
        raise TraceError(
            fields.file,
            f"the file name '{printable(shard.file)}' in {fields.where}",
            "a plain name ending in .safetensors: a trace reads nothing outside its own directory",
            _COPY_AGAIN,
        )
    if not _SHA256.fullmatch(shard.sha256):
        raise TraceError(
            fields.file,
            f"'{printable(shard.sha256)}' as SHA-256 of '{shard.file}'",
            "64 lower-case hexadecimal digits",
            _COPY_AGAIN,
        )
    return shard


def _gradient_shard(fields: _Fields) -> Shard:
    shard = _shard(fields)
    return Shard(shard.file, shard.bytes, shard.sha256, fields.natural("first_step"), fields.natural("last_step"))


def _check_files(shards: tuple[Shard, ...], file: Path) -> None:
    seen: set[str] = set()
    for shard in shards:
        if shard.file in seen:
            raise TraceError(file, f"the shard '{shard.file}' twice", "every file once", _COPY_AGAIN)
        seen.add(shard.file)


def _check_coverage(gradients: tuple[Shard, ...], n_steps: int, file: Path) -> None:
    """The shards must hold the steps 1..n_steps in order, each once."""
    due = 1
    for shard in gradients:
        if shard.first_step != due or not due <= shard.last_step <= n_steps:
            raise TraceError(
                file,
                f"steps {shard.first_step}..{shard.last_step} in '{shard.file}' where step {due} is due",
                f"shards in order without gap or overlap over steps 1..{n_steps}",
                _COPY_AGAIN,
            )
        due = shard.last_step + 1
    if due != n_steps + 1:
        raise TraceError(file, f"no shard for step {due}", f"shards over steps 1..{n_steps}", _COPY_AGAIN)


def _missing(document: _Fields, parameters: tuple[Parameter, ...], n_steps: int) -> dict[int, frozenset[str]]:
    known = {p.name for p in parameters}
    missing: dict[int, frozenset[str]] = {}
    for fields in document.objects("missing"):
        step = fields.natural("step")
        if not 1 <= step <= n_steps or step in missing:
            raise TraceError(
                document.file, f"step {step} in {fields.where}", f"each step of 1..{n_steps} at most once", _COPY_AGAIN
            )
        names = fields.array("parameters")
        for name in names:
            if not isinstance(name, str) or name not in known:
                raise TraceError(
                    document.file,
                    f"an unknown parameter in {fields.where}",
                    "the name of a declared parameter",
                    _COPY_AGAIN,
                    str(name),
                )
        missing[step] = frozenset(names)
    return missing

"""The keys of `[tool.optconform]`: validation, the JSON Schema for editors and the reference are made of this table."""

from __future__ import annotations

from ...adapters.devices import DEVICE_NAME
from ...adapters.frameworks import FRAMEWORKS
from ..choices import DTYPES, MODES
from ..codes import CODES
from ..expectation import AXES, VERDICTS
from . import complaints
from .kinds import Choice, Key, ListOf, Literal, Table, TableOf, Text
from .values import Accepted, Configuration, ConfiguredTarget

TABLE = "tool.optconform"

_ELSEWHERE = {other: row.name for row in FRAMEWORKS.values() for other in row.also_called}
_CODE = Choice(
    tuple(CODES),
    means={row.name: row.code for row in CODES.values()},
    where="a code of the rule table, such as OC204; `optconform rules` lists them",
)
_FRAMEWORK = Choice(tuple(FRAMEWORKS), means=_ELSEWHERE)
_REQUIREMENT = Text(
    f"a framework ({', '.join(FRAMEWORKS)}) or a device (cpu, cuda, gpu:N)",
    pattern=f"{'|'.join(FRAMEWORKS)}|{DEVICE_NAME}",
    near=(*FRAMEWORKS, "cpu", "cuda", "gpu"),
    means=_ELSEWHERE,
)
_EXPECTATION = rf"\s*({'|'.join(VERDICTS)})\s*(,\s*({'|'.join(AXES)})=[^,=]+)*"
_TRACES = ListOf(Text("the name, path or address of a trace", complaints.of_trace))
_DTYPES = ListOf(
    Choice(DTYPES, means={"double": "float64", "single": "float32", "half": "float16", "bf16": "bfloat16"})
)
_DEVICES = ListOf(Text("cpu, cuda or gpu:N", pattern=DEVICE_NAME, near=("cpu", "cuda", "gpu")))

TARGET_KEYS = (
    Key(
        "target",
        Text(
            "package.module:attribute or path/to/file.py:attribute", complaints.of_target, spelling=r".*[^\s:].*:[^:]+"
        ),
        "The optimizer: a class or a factory. The path of a file is relative to the configuration's folder.",
        required=True,
    ),
    Key(
        "expect",
        Text(
            "VERDICT[,law=..][,order=..][,epsilon=..][,momentum=..]", complaints.of_expectation, spelling=_EXPECTATION
        ),
        "What it is expected to be, as --expect.",
        "decoupled",
    ),
    Key("framework", _FRAMEWORK, "Whose optimizer it is.", "found out, as without --framework"),
    Key("path", Text("the name of an execution path, such as foreach"), "How a step is executed, as --paths."),
    Key("mode", Choice(MODES), "What the reference takes over in each step.", "chosen"),
    Key(
        "set",
        TableOf(Literal(), "{ weight_decay = 0.1, betas = [0.9, 0.98] }"),
        "Options of its constructor, as --set; an array becomes a tuple.",
    ),
    Key(
        "map",
        TableOf(Text("the target's own name of the option"), '{ weight_decay = "shrinkage" }'),
        "Which of its options is lr, weight_decay ..., as --map.",
    ),
    Key("traces", _TRACES, "Traces for this target.", "those of the whole configuration"),
    Key("dtypes", _DTYPES, "Precisions for this target.", "those of the whole configuration"),
    Key("devices", _DEVICES, "Devices for this target.", "those of the whole configuration"),
)

ACCEPT_KEYS = (
    Key("code", _CODE, "The code of the findings that are accepted.", required=True),
    Key(
        "target",
        Text("a target as `targets` writes it, or a pattern such as src/*:My*"),
        "Whose findings: a target as `targets` writes it, or a shell's pattern of several.",
        required=True,
    ),
    Key("reason", Text("a sentence that says why"), "Why they are accepted; reports show it.", required=True),
)

KEYS = (
    Key(
        "targets",
        ListOf(
            Table(TARGET_KEYS, ConfiguredTarget, 'a table, such as { target = "my_package.optim:MyAdamW" }'),
            when_empty="remove the key to check the built-in optimizers, or add [[tool.optconform.targets]]",
        ),
        "The optimizers that `optconform check` and `optconform gate` run where no target is named.",
        "the built-in optimizers of every installed framework",
    ),
    Key(
        "traces",
        _TRACES,
        "Traces that every target is replayed on: names, addresses, or paths relative to the configuration's folder.",
        "the first three of `optconform trace list`",
    ),
    Key("dtypes", _DTYPES, "Precisions: every target is checked in each.", "float64, of the gate float32"),
    Key("devices", _DEVICES, "Devices: `check` runs every target on each; `gate` runs on --device.", "cpu"),
    Key("select", ListOf(_CODE, may_be_empty=True), "Codes that count, and no others.", "all"),
    Key("ignore", ListOf(_CODE, may_be_empty=True), "Codes that do not count, on any target."),
    Key(
        "require",
        ListOf(_REQUIREMENT, may_be_empty=True),
        "Frameworks and devices that must be there; what is not there is otherwise skipped, and said.",
    ),
    Key(
        "baseline",
        Text("the path of a baseline, or of a folder of them"),
        "What `optconform gate` holds its run against, relative to the configuration's folder.",
    ),
    Key(
        "accept",
        ListOf(
            Table(ACCEPT_KEYS, Accepted, 'a table, such as { code = "OC204", target = "..", reason = ".." }'),
            may_be_empty=True,
        ),
        "Findings of `optconform check` that stay in the result and do not count. One that is not found is an error.",
    ),
)

CONFIGURATION = Table(KEYS, Configuration, "a table")

"""The JSON Schemas that ship with the package hold for what it writes, and refuse what it must not write."""

import copy
import json
from importlib import resources

import jsonschema
import pytest
from referencing import Registry, Resource

from optconform.conformance.audit import audit
from optconform.conformance.check_report import CheckReport
from optconform.conformance.expectation import parse_expectation
from optconform.conformance.result import Result

AUDIT, CHECK = (
    json.loads(resources.files("optconform.conformance").joinpath(f"schema/{name}-1.schema.json").read_text("utf-8"))
    for name in ("audit", "check")
)
REGISTRY = Registry().with_resource(AUDIT["$id"], Resource.from_contents(AUDIT))
ADAMW, SGDW = (f"optconform.adapters.numpy_optimizers:{name}" for name in ("AdamW", "SGDW"))


def validate(document, schema=AUDIT):
    jsonschema.Draft202012Validator(schema, registry=REGISTRY).validate(json.loads(json.dumps(document)))


@pytest.fixture
def results(subject_of, zoo, small_trace, make_trace):
    """Return results of every sort: sound, wrong, undecided, without option, not built, not stepped."""

    class Refusing(zoo.Plain):
        def __init__(self, weight_decay=0.0):
            raise ValueError("no")

    class Stuck(zoo.Plain):
        def step(self, params, grads, lr):
            raise RuntimeError("no")

    def run(target, trace=small_trace, expect="decoupled", **options):
        return audit(subject_of(target, **options), [trace], parse_expectation(expect))

    return {
        "adamw": run(ADAMW, expect="decoupled,law=lr*wd,order=previous,epsilon=outside"),
        "sgdw": run(SGDW, expect="l2,momentum=lr_inside", weight_decay=0.1),
        "unknown rule": run(zoo.Plain),
        "no form": run(zoo.SquaredLr),
        "l2": run(zoo.L2),
        "nan": run(zoo.NotANumber),
        "none": run(zoo.NoDecayOption, expect="none"),
        "not built": run(Refusing),
        "not stepped": run(Stuck),
        "empty trace": run(ADAMW, make_trace(n_steps=0)),
        "nothing to see": run(ADAMW, make_trace(multipliers=(0.0,) * 6)),
        "mixed": run(zoo.SkipsBias),
        "uneven": run(zoo.HalfOnBias),
        "no traces": audit(subject_of(ADAMW), [], parse_expectation("any")),
    }


@pytest.mark.parametrize("schema", [AUDIT, CHECK], ids=["audit", "check"])
def test_the_schemas_are_valid_themselves(schema):
    jsonschema.Draft202012Validator.check_schema(schema)


def test_every_sort_of_result_is_valid(results):
    verdicts = set()
    for result in results.values():
        document = json.loads(json.dumps(result.to_json()))
        validate(document)
        assert Result.from_json(document).to_json() == document
        verdicts.add(str(result.verdict))
    assert verdicts >= {"decoupled", "l2", "none", "inconclusive", "error", "mixed"}
    validate(CheckReport(tuple(results.values()), ("torch",)).to_json(), CHECK)
    validate(CheckReport(()).to_json(), CHECK)


def test_every_field_is_described(results):
    """A field that the schema does not name is a field that nobody promised."""
    assert set(results["adamw"].to_json()) == set(AUDIT["properties"])
    for part in ("decay", "match", "separation", "series"):
        assert set(results["adamw"].to_json()[part]) == set(AUDIT["$defs"][part]["properties"])
    assert set(results["adamw"].to_json()["parameters"][0]) == set(AUDIT["$defs"]["parameter"]["properties"])
    assert set(results["adamw"].to_json()["findings"][0]) == set(AUDIT["$defs"]["finding"]["properties"])
    for part, described in (("displacements", "displacement"), ("distances", "distance"), ("law", "law_point")):
        assert set(results["adamw"].to_json()["series"][part][0]) == set(AUDIT["$defs"][described]["properties"])


def _set(path, value):
    def change(document):
        *above, last = path
        for key in above:
            document = document[key]
        document[last] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set(["verdict"], "fine"),
        _set(["schema"], "optconform/audit/2"),
        _set(["expected"], "decoupled;law=wd"),
        _set(["framework"], "theano"),
        _set(["exit_status"], 6),
        _set(["dtype"], "float8"),
        _set(["decay", "law"], "lr"),
        _set(["decay", "applied_to"], "both"),
        _set(["match", "rule"], "adamax"),
        _set(["match", "bound_ratio"], -1.0),
        _set(["match", "bound_ratio"], "large"),
        _set(["match", "elements"], -1),
        _set(["parameters", 0, "verdict"], None),
        _set(["parameters", 0, "shape"], [2.5]),
        _set(["findings", 0, "severity"], "fatal"),
        _set(["findings", 0, "rule"], "OC1"),
        _set(["findings", 0, "message"], ""),
        _set(["checks", "details", 0, "outcome"], "xfail"),
        _set(["traces", 0, "sha256"], "0" * 63),
        _set(["series", "law", 0, "lr"], 0.0),
        _set(["series", "distances", 0, "own", 0], -1.0),
        _set(["series", "distances", 0, "steps"], list(range(1, 98))),
        _set(["series", "displacements", 0, "theta", 0], None),
        _set(["series", "displacements", 0, "applied_to"], "either"),
        _set(["seconds"], None),
        lambda document: document.pop("reason"),
        lambda document: document["checks"].pop("planned"),
        lambda document: document["match"].pop("rivals"),
    ],
)
def test_a_broken_document_is_refused(results, change):
    document = copy.deepcopy(results["adamw"].to_json())
    change(document)
    with pytest.raises(jsonschema.ValidationError):
        validate(document)


def test_fields_may_be_added(results):
    document = results["adamw"].to_json()
    document["later"] = document["decay"]["later"] = 1
    validate(document)

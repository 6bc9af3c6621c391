"""What crosses between a command and its workers: literals, messages, results; and the limits, as they are stated."""

import json
import math

import pytest

from optconform.adapters.errors import MissingDevice, MissingFramework, PathNotTaken, TargetError, UnknownOption
from optconform.conformance.expectation import parse_expectation
from optconform.conformance.planned import Depth, PlannedAudit, PlannedComparison, PlannedSide
from optconform.conformance.result import Counting, Result
from optconform.conformance.traces import TraceError
from optconform.conformance.workers import limits
from optconform.conformance.workers.messages import comparison_of, job_of, job_of_comparison, planned_of
from optconform.conformance.workers.mistakes import mistake_of, told
from optconform.conformance.workers.wire import Decoder, Garbled, encode, pack, unpack

LITERALS = [
    None,
    True,
    -3,
    1e-8,
    math.inf,
    "\x1b\ud800",
    (),
    (0.9, (0.999, None)),
    [1, [2.5]],
    {1, 2},
    b"\x00\xff",
    1 - 2j,
    {"betas": (0.9, 0.99), 1: [{"tuple": 2}], (1, 2): {}},
]


@pytest.mark.parametrize("value", LITERALS, ids=repr)
def test_literals_keep_their_types(value):
    back = unpack(json.loads(json.dumps(pack(value))))
    assert (back, repr(back)) == (value, repr(value))


def test_what_is_no_literal_is_refused():
    with pytest.raises(TypeError, match="type, which cannot go to a worker process; expected a Python literal"):
        pack({"a": (int,)})


@pytest.mark.parametrize("size", [1, 3, 4, 5, 1000])
def test_messages_come_whole_however_they_are_cut(size):
    messages = [{"step": 1}, {}, {"result": "é\u2028" * 50}]
    sent = b"".join(map(encode, messages))
    decoder = Decoder()
    chunks = (sent[start : start + size] for start in range(0, len(sent), size))
    assert [message for chunk in chunks for message in decoder.feed(chunk)] == messages


@pytest.mark.parametrize(
    ("chunk", "words"),
    [
        (b"\xff\xff\xff\xff", "a message of 4294967295 bytes"),
        (b"\x00\x00\x00\x02{]", "no JSON"),
        (b"\x00\x00\x00\x02[]", "list, expected an object"),
        (b"\x00\x01\x00\x00" + b"[" * 65536, "no JSON"),
        (b"\x00\x00\x00\x01\xff", "no JSON"),
    ],
)
def test_what_is_no_message_is_refused(chunk, words):
    with pytest.raises(Garbled, match=words):
        list(Decoder().feed(chunk))


def test_a_planned_audit_arrives_as_it_was_sent():
    planned = PlannedAudit(
        "torch.optim:AdamW",
        parse_expectation("decoupled,law=lr*wd,epsilon=hat"),
        {"betas": (0.8, 0.95), "foreach": None},
        "torch",
        renamed={"lr": "rate"},
        dtype="bfloat16",
        depth=Depth(Counting(ignore=("OC411",)), "all"),
    )
    job = json.loads(json.dumps(job_of(planned, ["digits_mlp"], {"all": []})))
    assert (planned_of(job["planned"]), job["traces"]) == (planned, ["digits_mlp"])


def test_a_document_of_another_shape_is_no_result():
    with pytest.raises(KeyError):
        Result.from_json({"target": "x"})
    with pytest.raises(ValueError, match="fine"):
        Result.from_json({"target": "x", "verdict": "fine", "checks": {"details": []}})
    with pytest.raises(TypeError, match="expected str"):
        Result.from_json({"target": ["x"], "checks": {"details": []}})


class TestLimits:
    def test_memory_is_half_of_the_machines_unless_it_is_said(self):
        assert limits.Limits().bytes_allowed == limits.machine_memory() // 2
        assert limits.Limits(memory=1.5).bytes_allowed == 1_500_000_000

    def test_where_there_is_no_limit_it_is_said_aloud(self, monkeypatch):
        assert limits.unlimited_memory("cpu") is None
        assert "memory is not limited on gpu:0" in limits.unlimited_memory("gpu:0")
        monkeypatch.setattr("sys.platform", "win32")
        assert "memory is not limited: win32" in limits.unlimited_memory("cpu")
        assert limits.Limits().bytes_allowed is None


@pytest.mark.parametrize(
    "error",
    [
        *(kind("why") for kind in (MissingDevice, MissingFramework, PathNotTaken, TargetError, UnknownOption)),
        TraceError("file", "found", "expected", "remedy", "tensor"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_mistakes_arrive_as_they_were_raised(error):
    back = mistake_of(json.loads(json.dumps(told(error))))
    assert (type(back), back.args, str(back)) == (type(error), error.args, str(error))


def test_what_tells_of_no_mistake_is_none():
    assert mistake_of({"result": {}}) is None
    with pytest.raises(KeyError):
        mistake_of({"error": "SystemExit", "arguments": []})


def test_a_planned_comparison_arrives_as_it_was_sent():
    first = PlannedSide("torch.optim:AdamW", {"betas": (0.8, 0.95)}, "torch", "foreach", {"lr": "rate"})
    planned = PlannedComparison(first, PlannedSide("optax:adamw", {"nu": None}), dtype="float32")
    job = json.loads(json.dumps(job_of_comparison(planned, ["digits_mlp"], {"all": []})))
    assert (comparison_of(job["comparison"]), job["traces"]) == (planned, ["digits_mlp"])

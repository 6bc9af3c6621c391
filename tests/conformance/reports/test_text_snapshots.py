"""The text of results of every sort, made by hand, at two widths and in ASCII: word for word as in `snapshots/`.

`python tests/conformance/reports/test_text_snapshots.py` writes the snapshots again; the difference is to be read.
"""

import io
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from optconform.conformance.axis_differences import Difference
from optconform.conformance.check_report import CheckReport
from optconform.conformance.compare_result import CompareResult, Outcome, Side
from optconform.conformance.reports.compare_text import print_compare
from optconform.conformance.reports.console import show
from optconform.conformance.reports.document import read_document
from optconform.conformance.reports.encodings import prepare
from optconform.conformance.reports.gate_text import print_gate
from optconform.conformance.reports.text import print_audit, print_check
from optconform.conformance.result import (
    Check,
    Counting,
    Decay,
    Finding,
    Match,
    ParameterResult,
    Result,
    Separation,
    Severity,
    Verdict,
)

TRACES = ({"name": "digits_mlp", "sha256": "5a0bac0998da448a"},)
PASSED = Check("trajectory", "passed", "1210 elements inside the bound of adamw, worst ratio 0.41, theta-resync")

SOUND = Result(
    target="torch.optim:AdamW",
    framework="torch",
    verdict=Verdict.DECOUPLED,
    expected="decoupled",
    reason="decay moves theta by -c * theta, theta previous",
    title="torch.optim:AdamW foreach=False",
    versions={"optconform": "1.0", "torch": "2.13.0"},
    hyperparameters={"lr": 0.001, "weight_decay": 0.01},
    probe={"lr": 0.05, "weight_decay": 0.5},
    decay=Decay(law="lr*wd", applied_to="previous", form="explicit"),
    match=Match(
        rule="adamw", epsilon="outside", bound_ratio=0.41, elements=1210, rivals={"adamw[order=proximal]": 9e7}
    ),
    separation=Separation(0.41, "adamw[order=proximal]", 2.8e7),
    parameters=(
        ParameterResult("digits_mlp", "hidden.weight", (16, 64), Verdict.DECOUPLED, 3, (0.025,), (1e-5,)),
        ParameterResult("digits_mlp", "hidden.bias", (16,), Verdict.DECOUPLED, 3, (0.025,)),
    ),
    checks=(PASSED, Check("maximize", "skipped", "there is no option maximize")),
    traces=TRACES,
    rerun="optconform audit torch.optim:AdamW --set foreach=False --framework torch",
)

ROUNDED = Finding(
    "OC305",
    "rounded-hyperparameter",
    Severity.WARNING,
    "rounded to float32 on use (everywhere: lr, weight_decay); taken as exact, the trajectory is 1.9e+07 bounds away",
    evidence={"bounds": 19000000.0},
)
KERAS = replace(
    SOUND,
    target="keras.optimizers:AdamW",
    framework="tensorflow",
    title="keras.optimizers:AdamW",
    findings=(ROUNDED,),
    rerun="optconform audit keras.optimizers:AdamW",
)
COMPILED = replace(KERAS, title="keras.optimizers:AdamW [compiled]")
ACCEPTED = replace(
    SOUND,
    title="mine:Lion",
    findings=(
        replace(
            ROUNDED, rule="OC204", name="lost-decay", message="no decay is left", accepted="lr is never below 1e-3"
        ),
    ),
)
COUPLED = replace(
    SOUND,
    target="torch.optim:Adam",
    verdict=Verdict.L2,
    title="torch.optim:Adam weight_decay=0.1",
    reason="feeding g + lambda*theta without decay reproduces every step",
    decay=Decay(),
    match=Match(rule="adam_l2", epsilon="outside", elements=1210),
    separation=Separation(0.69, "sgdw[law=lr*wd,order=proximal]", 4e9),
    checks=(replace(PASSED, outcome="failed", name="kind[digits_mlp]", message="l2 over 4 parameters", code="OC101"),),
    findings=(
        Finding("OC304", "momentum-convention", Severity.INFO, "the momentum buffer has the learning rate outside"),
        Finding(
            "OC101",
            "coupled-decay",
            Severity.ERROR,
            "weight decay is L2: feeding g + weight_decay*theta to the optimizer without decay reproduces every step",
            evidence={"decoupling_ratio": 44551471237016.945, "trace": None, "names": ["a", "b"]},
            rerun="optconform audit torch.optim:Adam --set weight_decay=0.1 --framework torch",
        ),
    ),
    rerun="optconform audit torch.optim:Adam --set weight_decay=0.1 --framework torch",
)
BROKEN = Result(
    target="src/my_package/a_long_module_name.py:MyAdamW",
    framework="torch",
    verdict=Verdict.ERROR,
    expected="decoupled",
    reason="it could not be built",
    title="src/my_package/a_long_module_name.py:MyAdamW betas=(0.9, 0.98)",
    findings=(Finding("OC901", "cannot-build", Severity.ERROR, "ValueError: no such luck", parameter="\u03b8"),),
)
UNDECIDED = replace(
    SOUND,
    verdict=Verdict.INCONCLUSIVE,
    target="optax:adamw",
    title="optax:adamw",
    reason="the trace has no step",
    decay=Decay(),
    match=Match(),
    separation=Separation(),
    checks=(),
    parameters=(),
    counting=Counting(ignore=("OC305",)),
)

CHECK = CheckReport((SOUND, KERAS, COMPILED, ACCEPTED, COUPLED, BROKEN, UNDECIDED), ("jax",))
"""A run that ends in every way in which one can."""

COMPARISON = CompareResult(
    outcome=Outcome.DIFFERENT,
    reason="they part at step 1 of digits_mlp, 'hidden.weight'[4, 6]; what explains it: eps (1e-08 in A, 1e-07 in B)",
    first=Side("torch.optim:AdamW", "torch", "foreach", {"torch": "2.13.0"}, {"eps": 1e-08}, "adamw", {"law": "lr*wd"}),
    second=Side("optax:adamw", "jax", "eager", {"optax": "0.2.8"}, {"eps": 1e-07}, "adamw", {"law": "lr*wd"}, 0.3),
    dtype="float64",
    device="cpu",
    judged_by="adamw",
    ratio=4.6e6,
    differences=(Difference("eps", 1e-08, 1e-07, True, 1),),
    elements=1210,
    traces=TRACES,
    rerun="optconform compare torch.optim:AdamW optax:adamw --framework-a torch --framework-b jax",
)

APART = {"largest": 12.0, "median": 0.0, "share": 0.01, "steps": 6, "against": "loop"}
CASES = tuple(
    {
        "case": f"torch/{result.title or 'AdamW'}/float32/synthetic:mixed".replace(" ", "_"),
        "skipped": "",
        "measured": {"reproducible": True, "from_cpu": APART, "proof": "ran as a graph"},
        **result.to_json(),
    }
    for result in (SOUND, COUPLED)
)
GATE = {
    "schema": "optconform/gate/1",
    "exit_status": 1,
    "place": {"device": "gpu:0", "name": "Card 9", "details": {"driver": "1.2.3"}},
    "date": "2026-11-22",
    "left_out": ["not run: keras-jax, which is not installed"],
    "results": [*CASES, {**UNDECIDED.to_json(), "case": "jax/adamw/scan", "skipped": "this version has no scan"}],
}

DRAWN = {
    "check": lambda console: print_check(console, CHECK, [each.title for each in CHECK.results], verbose=False),
    "check-v": lambda console: print_check(console, CHECK, [each.title for each in CHECK.results], verbose=True),
    "audit": lambda console: print_audit(console, COUPLED, COUPLED.title, verbose=False),
    "audit-v": lambda console: print_audit(console, replace(SOUND, output="hello"), SOUND.title, verbose=True),
    "gate": lambda console: print_gate(console, read_document(GATE), verbose=False),
    "compare": lambda console: print_compare(console, COMPARISON, ("torch.optim:AdamW", "optax:adamw"), verbose=True),
}
FORMS = {"80": (80, "utf-8"), "140": (140, "utf-8"), "ascii": (100, "ascii")}
SNAPSHOTS = Path(__file__).parent / "snapshots"


def drawn(draw, width, encoding):
    """Return what `draw` prints to a pipe in `encoding` where COLUMNS is `width`; None names no width."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    prepare(stream)
    with pytest.MonkeyPatch.context() as patch:
        if width is not None:
            patch.setenv("COLUMNS", str(width))
        patch.setattr(sys, "stdout", stream)
        show(draw)
    return stream.buffer.getvalue().decode(encoding)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", DRAWN)
def test_the_text_is_that_of_the_snapshot(name, form):
    assert drawn(DRAWN[name], *FORMS[form]) == (SNAPSHOTS / f"{name}-{form}.txt").read_text(encoding="utf-8")


def test_every_snapshot_is_of_a_test():
    assert {path.name for path in SNAPSHOTS.iterdir()} == {f"{name}-{form}.txt" for name in DRAWN for form in FORMS}


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200, None])
@pytest.mark.parametrize("name", DRAWN)
def test_no_line_is_too_long_and_no_name_is_cut(name, width):
    text = drawn(DRAWN[name], width, "utf-8")
    assert not [line for line in text.splitlines() if line != line.rstrip()]
    whole = ("rerun: ", "src/my_package/a_long_module_name.py:MyAdamW", "torch/", "rounding explains")
    if width is not None:
        longest = [line for line in text.splitlines() if not any(each in line for each in whole)]
        assert max(map(len, longest)) <= width
    words = {word.strip(":,") for word in text.split()}
    for result in {"check": CHECK.results, "audit": [COUPLED], "audit-v": [SOUND]}.get(name, ()):
        assert {word.strip(":,") for word in result.title.split()} <= words


@pytest.mark.parametrize("width", [None, 60])
def test_where_nobody_looks_a_finding_is_one_line(width):
    text = drawn(DRAWN["check"], width, "utf-8")
    assert (ROUNDED.message in text) is (width is None)
    assert ROUNDED.message in " ".join(text.split())


def test_errors_come_first_and_what_only_informs_with_the_evidence():
    text, all_of_it = (drawn(DRAWN[name], None, "utf-8") for name in ("check", "check-v"))
    assert "OC304" not in text
    assert "decoupling_ratio" not in text
    assert all_of_it.index("OC101 error") < all_of_it.index("OC304 info")
    headings = [text.index(f"\n\n{each.title}: ") for each in (BROKEN, COUPLED, UNDECIDED)]
    assert headings == sorted(headings)
    assert "decoupling_ratio: 4.45515e+13" in all_of_it
    assert 'names: ["a", "b"]' in all_of_it


def test_targets_with_the_same_findings_are_named_together():
    text = drawn(DRAWN["check"], None, "utf-8")
    assert "keras.optimizers:AdamW, keras.optimizers:AdamW [compiled]\n  OC305 warning" in text
    assert text.count("OC305 warning") == 1


def test_what_was_accepted_is_said_with_its_reason():
    text = drawn(DRAWN["check"], None, "utf-8")
    assert "OC204 warning lost-decay: no decay is left\n    accepted: lr is never below 1e-3\n" in text
    assert "1 finding accepted" in text


@pytest.mark.parametrize(
    ("results", "missing", "last"),
    [
        (
            (SOUND,),
            (),
            """1 optimizer: 1 as expected, 0 not; 2 checks: 1 passed, 1 skipped; \
4,330 elements compared in float64 on cpu, on the gradients of digits_mlp.
NOT CHECKED: float32, bfloat16, float16 (--dtype); devices other than cpu (--device); other traces (--trace); \
groups, checkpoints and other ways of using it (audit).
""",
        ),
        (
            tuple(replace(SOUND, dtype=dtype) for dtype in ("float64", "float32", "bfloat16", "float16")),
            ("jax", "torch"),
            """
NOT CHECKED: jax, torch (not installed); devices other than cpu (--device); other traces (--trace); \
groups, checkpoints and other ways of using it (audit).
""",
        ),
        (
            (replace(SOUND, device="cuda", counting=Counting(("OC101", "OC102"), ("OC305",))),),
            (),
            """
NOT CHECKED: every code but OC101, OC102 (--select); OC305 (--ignore); float32, bfloat16, float16 (--dtype); \
devices other than cuda (--device); other traces (--trace); groups, checkpoints and other ways of using it (audit).
""",
        ),
        ((), (), "0 optimizers: 0 as expected, 0 not; 0 checks: 0 passed.\nNOTHING RAN.\n"),
    ],
)
def test_the_last_lines_say_what_was_checked_and_what_was_not(results, missing, last):
    report = CheckReport(results, missing)
    titles = [each.title for each in results]
    assert drawn(lambda console: print_check(console, report, titles, verbose=False), None, "utf-8").endswith(last)


def test_an_audit_that_could_not_run_has_no_empty_line():
    finding = Finding("OC901", "cannot-build", Severity.ERROR, "torch cannot be used")
    none = Result(
        target="torch.optim:AdamW",
        framework=None,
        verdict=Verdict.ERROR,
        expected="decoupled",
        reason="torch cannot be used",
        path=None,
        findings=(finding,),
    )
    text = drawn(lambda console: print_audit(console, none, none.target, verbose=False), None, "utf-8")
    assert "  framework        not known, float64 on cpu\n" in text
    assert "None" not in text
    assert [line for line in text.splitlines() if line.split() in (["traces"], ["rerun:"])] == []


if __name__ == "__main__":
    SNAPSHOTS.mkdir(exist_ok=True)
    for name, draw in DRAWN.items():
        for form, (width, encoding) in FORMS.items():
            (SNAPSHOTS / f"{name}-{form}.txt").write_text(drawn(draw, width, encoding), encoding="utf-8")

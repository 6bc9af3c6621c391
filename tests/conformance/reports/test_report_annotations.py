"""GitHub workflow commands: one line each, escaped, at most ten of a kind, and the rest counted."""

import re

from optconform.conformance.reports.annotations import SHOWN, annotations_of
from optconform.conformance.reports.document import read_document


def commands_of(text):
    """Return (kind, title, message) of every line, read as GitHub's runner does."""
    found = []
    for line in text.splitlines():
        kind, title, message = re.fullmatch(r"::(error|warning|notice) title=([^,:]*)::(.*)", line).groups()
        values = [title.replace("%3A", ":").replace("%2C", ","), message]
        found.append((kind, *(each.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%") for each in values)))
    return found


def test_a_failure_is_an_error_with_its_place_and_its_command(gate_document):
    error, notice = commands_of(annotations_of(read_document(gate_document)))
    assert error[:2] == ("error", "OC501 torch/AdamW/default/float32/fused/synthetic:mixed")
    assert "\n  first at step 3, parameter 'w', element [2, 1]: found 0.5" in error[2]
    assert "\nrerun: optconform audit " in error[2]
    assert notice[:2] == ("notice", "optconform: NOT as expected")
    assert notice[2].splitlines() == [
        "3 results: 1 as expected, 1 not as expected, 1 skipped",
        "compared with the 3 cases of card.json",
        "not run: keras-jax, which is not installed",
    ]


def test_what_could_not_run_or_be_told_is_an_error_too(check_document):
    kinds = [kind for kind, *_ in commands_of(annotations_of(read_document(check_document)))]
    assert kinds == ["error"] * 3 + ["notice"]


def test_a_warning_is_said_once_for_all_that_share_it(gate_document):
    good = gate_document["results"][0]
    good["findings"] = [gate_document["results"][1]["findings"][0] | {"rule": "OC502", "severity": "warning"}]
    gate_document |= {"results": [good] * 5, "exit_status": 0}
    warning, notice = commands_of(annotations_of(read_document(gate_document)))
    assert warning[:2] == ("warning", "OC502 torch/AdamW/default/float32/loop/synthetic:mixed and 4 more")
    assert notice[1] == "optconform: as expected"


def test_no_more_than_ten_of_a_kind_and_the_rest_is_counted(gate_document, many):
    warning = gate_document["results"][1]["findings"][0] | {"severity": "warning"}
    gate_document["results"][0]["findings"] = [warning | {"message": f"number {number}"} for number in range(25)]
    commands = commands_of(annotations_of(many(gate_document, 25)))
    assert [kind for kind, *_ in commands] == ["error"] * SHOWN + ["warning"] * SHOWN + ["notice"]
    assert "; 15 more errors not shown here; 15 more warnings not shown here" in commands[-1][2]


def test_a_run_that_fails_as_a_whole_is_an_error(gate_document):
    error, _ = commands_of(annotations_of(read_document(gate_document | {"results": [], "exit_status": 4})))
    assert error == ("error", "optconform", "nothing ran (exit status 4)")


def test_hostile_text_can_neither_end_nor_begin_a_command(hostile_document):
    text = annotations_of(read_document(hostile_document))
    assert not re.search("[\x00-\x09\x0b-\x1f\u2028\u202e\ud800-\udfff]", text)
    error, notice = commands_of(text)
    assert error[1].startswith("OC501 x</script><!--]]>|`")
    assert error[1].endswith("\\ud800\U0001f600%0A::error::")
    assert len(notice[2].splitlines()) == 2, "what is said twice is said once"

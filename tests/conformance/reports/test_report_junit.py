"""JUnit XML: one suite for each framework, one case for each result, and what did not run is seen by who counts."""

import re
from xml.etree import ElementTree

import pytest

from optconform.conformance.reports.document import read_document
from optconform.conformance.reports.junit import junit_of

# What the readers share (junit-10.xsd of Jenkins' xUnit plugin, which pytest writes too): element -> its attributes
# that must be there, those that may, and its children in their order.
GRAMMAR = {
    "testsuites": ({"name", "tests", "failures", "errors", "skipped", "time"}, set(), ["testsuite"]),
    "testsuite": (
        {"name", "tests", "failures", "errors", "skipped", "time"},
        {"timestamp"},
        ["properties", "testcase"],
    ),
    "properties": (set(), set(), ["property"]),
    "property": ({"name", "value"}, set(), []),
    "testcase": ({"classname", "name", "time"}, set(), ["skipped", "error", "failure", "system-out"]),
    "skipped": ({"message"}, set(), []),
    "error": ({"message", "type"}, set(), []),
    "failure": ({"message", "type"}, set(), []),
    "system-out": (set(), set(), []),
}


def parse(document):
    """Return the root of the XML of a document, after it was held against the grammar."""
    text = junit_of(read_document(document))
    root = ElementTree.fromstring(text.encode())
    for element in root.iter():
        needed, allowed, children = GRAMMAR[element.tag]
        assert needed <= set(element.keys()) <= needed | allowed
        order = [children.index(child.tag) for child in element]
        assert order == sorted(order)
    for suite in [root, *root.iter("testsuite")]:
        cases = list(suite.iter("testcase"))
        assert int(suite.get("tests")) == len(cases)
        for attribute, child in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(suite.get(attribute)) == sum(case.find(child) is not None for case in cases)
    names = [(case.get("classname"), case.get("name")) for case in root.iter("testcase")]
    assert len(set(names)) == len(names), "readers take two cases of one name for one"
    return root


def outcomes(root, suite):
    found = root.find(f"testsuite[@name='{suite}']")
    return [
        next((child.tag for child in case if child.tag != "system-out"), "passed") for case in found.iter("testcase")
    ]


def test_every_result_is_a_case(check_document):
    root = parse(check_document)
    assert outcomes(root, "optconform.numpy") == ["passed", "failure", "error", "failure"]
    assert outcomes(root, "optconform.run") == ["passed", "skipped"]
    first = next(root.iter("testcase"))
    assert first.get("classname") == "optconform.numpy.AdamW"
    assert first.get("name") == "optconform.adapters.numpy_optimizers:AdamW"
    assert "no such luck" in root.find(".//error").text


def test_a_failure_says_where_first_and_how_to_see_it_again(gate_document):
    failure = parse(gate_document).find(".//failure")
    assert failure.get("type") == "OC501"
    assert failure.get("message") == "OC501 error device-mismatch: outside the bound of adamw on gpu:0"
    assert "first at step 3, parameter 'w', element [2, 1]" in failure.text
    assert "rerun: optconform audit" in failure.text


def test_cases_of_the_gate_are_grouped_by_runtime(gate_document):
    root = parse(gate_document)
    assert outcomes(root, "optconform.torch") == ["passed", "failure"]
    assert outcomes(root, "optconform.jax") == ["skipped"]
    assert root.find(".//testsuite[@name='optconform.jax']//skipped").get("message") == "this version has no scan"
    assert root.find("testsuite").get("timestamp") == "2026-11-22T00:00:00"
    properties = {each.get("name"): each.get("value") for each in root.find("testsuite").iter("property")}
    assert properties["device"] == "gpu:0"
    assert properties["driver"] == "1.2.3"
    assert {"optconform", "numpy", "python", "hardware"} <= set(properties)
    assert "in ULP: 1.2e+03" in root.find(".//system-out").text


def test_what_was_left_out_is_a_case_that_was_skipped(gate_document):
    gate_document["left_out"] *= 2
    run = parse(gate_document).find("testsuite[@name='optconform.run']")
    assert int(run.get("skipped")) == 2
    assert "compared with the 3 cases of card.json" in run.find(".//system-out").text


@pytest.mark.parametrize(("kept", "status", "said"), [(0, 4, "nothing ran"), (1, 5, "compared with the 3 cases")])
def test_a_run_that_fails_as_a_whole_is_no_pass(gate_document, kept, status, said):
    gate_document |= {"results": gate_document["results"][:kept], "exit_status": status}
    root = parse(gate_document)
    assert root.get("failures") == "1"
    assert said in root.find(".//failure").get("message")


@pytest.mark.parametrize("seconds", ["nan", "inf", -1.0])
def test_times_can_be_added_up(check_document, seconds):
    check_document["results"][0]["seconds"] = seconds
    assert next(parse(check_document).iter("testcase")).get("time") == "0.000"


def test_results_of_one_name_stay_apart(check_document):
    check_document["results"] = check_document["results"][:1] * 3
    names = [case.get("name") for case in parse(check_document).find("testsuite").iter("testcase")]
    assert [name.partition(":")[2] for name in names] == ["AdamW", "AdamW (2)", "AdamW (3)"]


def test_hostile_text_stays_text(hostile_document):
    root = parse(hostile_document)
    everything = "".join([*root.itertext(), *(value for element in root.iter() for value in element.attrib.values())])
    assert not re.search("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", everything)
    assert (
        "x</script><!--]]>|`~~~```\"'&amp;<b>_*$\\n\\r\\t\\x00\\x1b[31m\\u2028\\u202e\\ufffe\\ud800\U0001f600%0A"
        in everything
    )
    assert outcomes(root, "optconform.run").count("skipped") == 2

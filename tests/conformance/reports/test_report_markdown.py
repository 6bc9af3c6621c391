"""Markdown for GitHub's step summary: the worst first, below its limit, and no text of a target is markup."""

import re

import pytest

from optconform.conformance.reports.document import read_document
from optconform.conformance.reports.markdown import LIMIT, SMALLEST_LIMIT, summary_markdown


def rows_of(text):
    """Return the cells of the table's rows, split where GitHub splits them: at bars that are not escaped."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def blocks_of(text):
    """Return the text of every fenced block, read as CommonMark does: a fence ends at one at least as long."""
    blocks, fence = [], ""
    for line in text.splitlines():
        if not fence and re.fullmatch("`{3,}", line):
            fence, block = line, []
        elif fence and re.fullmatch(f"{fence}`*", line):
            blocks.append(block)
            fence = ""
        elif fence:
            block.append(line)
    assert not fence, "a block is never closed"
    return blocks


def test_the_headline_counts_and_says_what_was_left_out(gate_document):
    text = summary_markdown(read_document(gate_document))
    assert text.startswith("## optconform: NOT as expected\n\n3 results: 1 as expected, 1 not as expected, 1 skipped.")
    assert "- **compared with the 3 cases of card.json**" in text
    assert "- **not run: keras-jax, which is not installed**" in text
    assert "hardware Card 9" in text.splitlines()[-1]


def test_the_table_holds_the_largest_ratios_first(gate_document, many):
    run = many(gate_document, 3)
    rows = rows_of(summary_markdown(run))
    assert [row[1] for row in rows] == ["failed"] * 3 + ["passed"] * 3 + ["skipped"] * 3
    failed, passed = rows[0], rows[3]
    assert failed[3:] == ["2.5e+06", "-", "-", "OTHER bits"]
    assert passed[5:] == ["1.2e+03", "same bits"]
    good = gate_document["results"][0]
    gate_document["results"] = [good | {"separation": {"own_ratio": ratio}} for ratio in (0.5, 0.9, "inf", 0.7)]
    assert [row[3] for row in rows_of(summary_markdown(read_document(gate_document)))] == ["inf", "0.9", "0.7", "0.5"]


def test_a_failure_is_folded_with_its_place_and_its_command(gate_document):
    text = summary_markdown(read_document(gate_document))
    assert text.count("<details>") == text.count("</details>") == 1
    summary = "<summary>OC501 torch/AdamW/default/float32/fused/synthetic:mixed: failed</summary>\n\n"
    assert summary in text
    told, rerun = blocks_of(text)
    assert any("first at step 3, parameter 'w', element [2, 1]" in line for line in told)
    assert rerun[0].startswith("optconform audit ")


def test_a_run_without_results_is_no_pass(gate_document):
    text = summary_markdown(read_document(gate_document | {"results": [], "exit_status": 4}))
    assert "- **nothing ran (exit status 4)**" in text
    assert not rows_of(text)


@pytest.mark.parametrize("limit", [SMALLEST_LIMIT, 60_000, LIMIT])
def test_it_stays_below_the_limit_and_says_what_is_left_out(gate_document, many, limit):
    for result in gate_document["results"]:
        result["case"] += "/long" * 80
    gate_document["results"][1]["reason"] = "\U0001f600" * 900
    run = many(gate_document, 500)
    text = summary_markdown(run, limit)
    assert 0.5 * limit < len(text.encode()) <= limit
    rows, shown = rows_of(text), text.count("<details>")
    assert 0 < len(rows) < 1500
    assert f"**{1500 - len(rows)} of 1500 results are left out" in text
    assert 0 < shown < 500
    assert f"**{500 - shown} of 500 failures are left out" in text
    assert text.count("</details>") == shown
    blocks_of(text)


def test_everything_is_shown_where_there_is_room(gate_document, many):
    text = summary_markdown(many(gate_document, 20))
    assert "left out" not in text
    assert len(rows_of(text)) == 60
    assert text.count("<details>") == 20


def test_a_limit_in_which_nothing_fits_is_refused(gate_document):
    with pytest.raises(ValueError, match="at least"):
        summary_markdown(read_document(gate_document), SMALLEST_LIMIT - 1)


def test_the_smallest_limit_holds_whatever_the_text(hostile_document, hostile):
    hostile_document["left_out"] = [f"{hostile * 20}{number}" for number in range(100)]
    hostile_document["baseline"]["sentence"] = hostile * 100
    hostile_document["place"]["details"] = {f"{hostile}{number}": hostile * 10 for number in range(50)}
    hostile_document["results"][1]["case"] = hostile * 100
    text = summary_markdown(read_document(hostile_document), SMALLEST_LIMIT)
    assert len(text.encode()) <= SMALLEST_LIMIT
    assert re.search(r"and \d+ more like these", text)


def test_hostile_text_stays_text(hostile_document):
    text = summary_markdown(read_document(hostile_document))
    assert not re.search("[\x00-\x09\x0b-\x1f\u2028\u202e\ud800-\udfff]", text)
    rows = rows_of(text)
    assert [len(row) for row in rows] == [7, 7, 7]
    assert rows[0][0].startswith("x\\</script\\>\\<!--\\]\\]\\>\\|\\`")
    assert text.count("<details>") == text.count("</details>") == 1
    assert "<summary>OC501 x&lt;/script&gt;&lt;!--" in text
    told, rerun, printed = blocks_of(text)
    assert rerun[0].startswith("optconform x</script>")
    assert "```" in printed
    outside = text
    for block in (told, rerun, printed):
        outside = outside.replace("\n".join(block), "")
    assert not re.search(r"(?<!\\)<(?!/?details>|/?summary>)", outside)

"""The alignment of a basin is measured as docs/paper.md says, and the page says what the committed document holds."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("jax")
pytest.importorskip("optax")
pytest.importorskip("sklearn")
pytestmark = pytest.mark.jax

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples/learning_rate_by_weight_decay.py"
DRAWING = ROOT / "examples/heat_maps.py"
DOCUMENT = json.loads((ROOT / "docs/figures/learning_rate_by_weight_decay.json").read_text(encoding="utf-8"))
FIGURE = ROOT / "docs/figures/learning_rate_by_weight_decay.svg"
PAGE = (ROOT / "docs/paper.md").read_text(encoding="utf-8")
AXIS = np.arange(-6, 7)
SVG = "{http://www.w3.org/2000/svg}"


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def example():
    return load(SCRIPT)


def valley(rising, falling):
    """Error over (lr, wd) that grows with lr + wd and lr - wd as strongly as the two weights say."""
    lr, wd = np.meshgrid(AXIS, AXIS, indexing="ij")
    return rising * (lr + wd) ** 2 + falling * (lr - wd) ** 2


@pytest.mark.parametrize(("rising", "falling", "sign"), [(1, 0.01, -1), (0.01, 1, 1), (1, 1, 0)])
@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.3])
def test_alignment_of_valleys(example, rising, falling, sign, fraction):
    found = example.alignment(valley(rising, falling), AXIS, AXIS, fraction)
    if sign:
        assert sign * found.correlation > 0.8
        assert 0.7 < sign * found.slope < 1.3
    else:
        np.testing.assert_allclose(found, 0, atol=1e-12)


def test_a_valley_along_an_axis_is_aligned_however_long_it_is(example):
    lr, wd = np.meshgrid(AXIS, AXIS, indexing="ij")
    for error in (lr**2 + 0.01 * wd**2, 0.01 * lr**2 + wd**2):
        np.testing.assert_allclose(example.alignment(error, AXIS, AXIS, 0.2), 0, atol=1e-12)


def test_one_row_is_aligned_and_a_plateau_is_refused(example):
    error = np.where(AXIS[:, None] == 0, 1 + 0.01 * AXIS**2, 9.0)
    np.testing.assert_array_equal(example.alignment(error, AXIS, AXIS, 0.05), 0)
    with pytest.raises(ValueError, match="equally good"):
        example.alignment(np.ones((13, 13)), AXIS, AXIS, 0.2)


def test_interval_covers_what_the_seeds_differ_in(example):
    same = np.stack([valley(1, 0.01)] * 4)
    either = np.stack([valley(1, 0.01), valley(0.01, 1)] * 2)
    for wrong, widest in ((same, 0.0), (either, 1.0)):
        found = example.alignment_with_interval(wrong, AXIS, AXIS, 0.2)["correlation"]
        low, high = found["interval"]
        assert low <= found["value"] <= high
        assert (high - low > 0) == (widest > 0)


@pytest.mark.parametrize(
    ("name", "factor"), [("sgdw_times_lr", 0.25), ("sgdw", 1.0), ("adamw_times_lr", 0.25), ("adamw", 1.0)]
)
def test_decay_is_the_one_that_the_title_says(example, name, factor):
    """At gradient 0 a step is the decay alone: lr*wd in the libraries' law, wd in the paper's."""
    (family,) = (each for each in example.FAMILIES if each.name == name)
    optimizer = family.make(lambda count: 0.25, 0.25, 0.125)
    theta = np.float32([1.0, -2.0])
    updates, _ = optimizer.update(0 * theta, optimizer.init(theta), theta)
    np.testing.assert_allclose(updates, -factor * 0.125 * theta, rtol=1e-6)


def test_script_on_a_small_grid(tmp_path):
    output = tmp_path / "small.json"
    asked = ["sgdw", "adam_l2"]
    sizes = ["--seeds", "2", "--steps", "40", "--every", "6"]
    command = [sys.executable, str(SCRIPT), "--output", str(output), *sizes]
    command += [f"--optimizer={name}" for name in asked]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    document = json.loads(output.read_text(encoding="utf-8"))
    assert [family["name"] for family in document["families"]] == asked
    assert document.keys() == DOCUMENT.keys()
    for family in document["families"]:
        assert np.shape(family["wrong"]) == (2, 3, 3)
    drawn = importlib.util.find_spec("matplotlib") is not None
    assert output.with_suffix(".svg").exists() == drawn
    assert ("matplotlib is not installed" in ran.stderr) == (not drawn)


def test_alignments_follow_from_the_counts(example):
    assert [family["title"] for family in DOCUMENT["families"]] == [family.title for family in example.FAMILIES]
    for family in DOCUMENT["families"]:
        wrong = np.array(family["wrong"])
        for stored in family["alignment"]:
            axes = (family["log2_lr"], family["log2_wd"])
            found = example.alignment_with_interval(wrong, *axes, stored["fraction"])
            assert found.keys() == stored.keys()
            for name in example.Alignment._fields:
                for key in ("value", "interval"):  # to the last digit that is written
                    np.testing.assert_allclose(found[name][key], stored[name][key], rtol=0, atol=1.1e-3)
        best = 100 * wrong.mean(0).min() / DOCUMENT["settings"]["test_images"]
        assert family["best_error_percent"] == round(best, 2)


def test_the_page_says_what_was_measured():
    rows = re.findall(
        r"^\| (.+?) \| (\S+) \[(\S+), (\S+)\] \| (\S+) \| (\S+) \| (\S+) \| (\S+) \|$", PAGE, re.MULTILINE
    )
    expected = []
    for family in DOCUMENT["families"]:
        head, *others = family["alignment"]
        correlations = (
            head["correlation"]["value"],
            *head["correlation"]["interval"],
            head["slope"]["value"],
            *(each["correlation"]["value"] for each in others),
        )
        numbers = [f"{number:+.2f}" for number in correlations]
        expected.append((family["title"].replace("lr*wd", "`lr*wd`"), *numbers, f"{family['best_error_percent']:.2f}"))
    assert rows == expected
    assert DOCUMENT["date"] in PAGE


def test_the_figure_is_drawn_from_the_document(tmp_path):
    pytest.importorskip("matplotlib")
    drawing = load(DRAWING)
    drawing.draw(DOCUMENT, tmp_path / "again.svg")
    trees = [ElementTree.parse(path).getroot() for path in (FIGURE, tmp_path / "again.svg")]
    committed, again = (["".join(text.itertext()) for text in tree.iter(f"{SVG}text")] for tree in trees)
    assert committed == again
    assert trees[0].get("role") == "img"
    assert trees[0].findtext(f"{SVG}desc") == drawing.description(DOCUMENT)

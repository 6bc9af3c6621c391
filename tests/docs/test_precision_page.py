"""The figures and the example of docs/precision.md are what the optimizers do."""

import doctest
import re
import statistics
from pathlib import Path

import numpy as np
import pytest

from optconform.conformance.api import make_subject
from optconform.conformance.effective_decay import effective_decay
from optconform.conformance.forms import FORMS
from optconform.conformance.law import Law
from optconform.conformance.result import Decay
from optconform.conformance.traces import MemoryTrace, Parameter

PAGE = Path(__file__).parents[2] / "docs/precision.md"
FRAMEWORKS = {"torch.optim:AdamW": "torch", "keras.optimizers:AdamW": "tensorflow", "optax:adamw": "jax"}
LR_WD = Law(Decay("lr*wd", 1.0, 1.0, 1.0, True, "previous", "explicit"), FORMS[0])
LR = 0.01
SAMPLES = 16
ELEMENTS = 4_000


def documented():
    """(dtype, lr*wd, target, figure as it is written) of every cell of the table."""
    table = re.search(r"^\| dtype \|.*?(?=\n\n)", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    heading, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines())
    targets = [cell.strip("`") for cell in heading[2:]]
    assert targets == list(FRAMEWORKS)
    return [(dtype, float(c), *cell) for dtype, c, *figures in rows for cell in zip(targets, figures, strict=True)]


@pytest.fixture(scope="module")
def samples():
    """Samples of theta, standard normal."""
    shape = (ELEMENTS,)
    return [
        MemoryTrace(
            name=f"normal-{seed}",
            parameters=(Parameter("w", shape, "float64"),),
            multipliers=(),
            initial={"w": np.random.default_rng(seed).standard_normal(shape)},
            gradients=(),
        )
        for seed in range(SAMPLES)
    ]


@pytest.mark.parametrize(
    ("dtype", "c", "target", "figure"),
    [
        pytest.param(*row, marks=getattr(pytest.mark, FRAMEWORKS[row[2]]), id="-".join(map(str, row[:3])))
        for row in documented()
    ],
)
def test_effective_decay(samples, dtype, c, target, figure):
    """The page's figure lies within five standard errors, which the samples themselves give, and its own rounding.

    With 16 samples, five standard errors are exceeded by chance once in 6,000 figures; the seeds are fixed.
    """
    pytest.importorskip(target.partition(".")[0].partition(":")[0])
    options = {"lr": LR, "weight_decay": c / LR} | ({"eps": 1e-6} if dtype == "float16" else {})
    subject = make_subject(target, framework=FRAMEWORKS[target], dtype=dtype, hyperparameters=options)
    ratios = [effective_decay(subject, trace, LR_WD).ratio for trace in samples]
    error = statistics.stdev(ratios) / SAMPLES**0.5
    last_digit = 10.0 ** -len(figure.partition(".")[2]) if float(figure) else 0.0
    assert abs(statistics.mean(ratios) - float(figure)) <= 5.0 * error + 0.5 * last_digit


def test_every_dtype_is_documented_down_to_nothing():
    for dtype in ("float32", "bfloat16", "float16"):
        figures = [figure for row_dtype, _, _, figure in documented() if row_dtype == dtype]
        assert abs(float(figures[0]) - 1.0) < 0.02
        assert figures[-3:] == ["0", "0", "0"]


@pytest.mark.torch
def test_example():
    pytest.importorskip("torch")
    (example,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    result = doctest.DocTestRunner().run(doctest.DocTestParser().get_doctest(example, {}, PAGE.name, str(PAGE), 0))
    assert (result.failed, result.attempted) == (0, 4)

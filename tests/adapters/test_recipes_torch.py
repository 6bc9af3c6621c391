"""Recipes as the PyTorch adapter follows them, on torch.optim's own and on small optimizers under known names."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from optconform.adapters.frameworks import load_adapter  # noqa: E402
from optconform.adapters.protocol import Layout, Target  # noqa: E402
from optconform.conformance.api import audit, make_subject  # noqa: E402

pytestmark = pytest.mark.torch

MATRICES = {"w": np.ones((3, 2)), "u": np.full((2, 2), 2.0)}


class Recording(torch.optim.SGD):
    """SGD that keeps what it was handed, as it was handed over."""

    def __init__(self, params, lr=0.1, weight_decay=0.0):
        self.handed = params
        self.trained = 0
        named = params.named_parameters() if hasattr(params, "named_parameters") else params
        super().__init__(
            [each[1] if isinstance(each, tuple) else each for each in named], lr, weight_decay=weight_decay
        )

    def train(self):
        self.trained += 1


def built(module, name, layout=None):
    cls = type(name, (Recording,), {"__module__": module})
    adapter = load_adapter("torch")
    how = {} if layout is None else {"layout": layout}
    return adapter.build(Target(f"{module}:{name}", cls, "torch"), {"lr": 0.1}, MATRICES, **how).optimizer


def test_flags_reach_the_parameter_groups():
    optimizer = built("pytorch_optimizer.optimizer.muon.muon", "Muon")
    assert [group["use_muon"] for group in optimizer.param_groups] == [True]
    split = built("pytorch_optimizer.optimizer.muon.muon", "Muon", Layout(groups=(("w",), ("u",))))
    assert [group["use_muon"] for group in split.param_groups] == [True, True]


def test_a_model_and_names_are_handed_over():
    model = built("pytorch_optimizer.optimizer.adam_mini", "AdamMini").handed
    assert [name for name, _ in model.named_parameters()] == ["parameter_0", "parameter_1"]
    assert [name for name, _ in built("adam_mini.adam_mini", "Adam_mini").handed] == ["parameter_0", "parameter_1"]


def test_training_mode_is_entered_once():
    assert built("schedulefree.sgd", "SGDScheduleFree").trained == 1
    assert built("mine.sgd", "SGDScheduleFree").trained == 0


def test_only_matrices_are_taken_where_the_recipe_says_so():
    result = audit("torch.optim:Muon", expect="any", traces=["synthetic:small"], metamorphic=False)
    assert result.verdict == "decoupled"
    assert [parameter.name for parameter in result.parameters] == ["matrix"]


def test_a_trace_without_matrices_leaves_nothing_to_judge(make_vector_trace):
    result = audit("torch.optim:Muon", expect="any", traces=[make_vector_trace()], metamorphic=False)
    assert result.verdict == "inconclusive"


def test_what_a_trace_cannot_drive_is_inconclusive_and_says_why():
    cls = type("SAM", (Recording,), {"__module__": "pytorch_optimizer.optimizer.sam"})
    result = audit(cls, expect="any", traces=["synthetic:small"], metamorphic=False)
    assert result.verdict == "inconclusive"
    assert [finding.rule for finding in result.findings] == ["OC906"]
    assert "closure" in result.reason
    assert result.exit_status == 4


def test_a_closure_that_step_requires_is_not_replayable_either():
    class NeedsClosure(torch.optim.SGD):
        def step(self, closure):
            raise AssertionError("never called")

    result = audit(NeedsClosure, expect="any", traces=["synthetic:small"], metamorphic=False)
    assert (result.verdict, [finding.rule for finding in result.findings]) == ("inconclusive", ["OC906"])


def test_without_a_weight_decay_option_nothing_needs_to_be_driven():
    assert audit("torch.optim:LBFGS", expect="none", traces=["synthetic:small"], metamorphic=False).verdict == "none"
    assert make_subject("torch.optim:LBFGS").has_weight_decay is False


@pytest.fixture
def make_vector_trace():
    from optconform.conformance.traces import synthetic_trace

    return lambda: synthetic_trace("small", shapes={"v": (5,)})

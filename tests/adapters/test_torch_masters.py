"""Master weights: they are wide, and the model is their rounding."""

import ml_dtypes
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from optconform.adapters.errors import PathNotTaken  # noqa: E402
from optconform.adapters.execution import MASTER_DTYPES, Feed, Opening, load_runtime  # noqa: E402
from optconform.adapters.protocol import SparseRows  # noqa: E402
from optconform.adapters.targets import load_target  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("dtype", MASTER_DTYPES)
def test_masters_are_wide_and_begin_as_the_model(dtype, run_torch, parameters, feeds):
    narrow = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}[dtype]
    third = {name: each / 3 for name, each in feeds[0].gradients.items()}
    start = run_torch("torch.optim:SGD", "master-weights", dtype, given=()).read_parameters()
    executed = run_torch("torch.optim:SGD", "master-weights", dtype, given=(Feed(third, 0.05),))
    assert executed.proof().on_path, executed.proof().observed
    for name, master in executed.read_parameters().items():
        assert start[name].tobytes() == parameters[name].astype(narrow).astype(np.float32).tobytes()
        gradient = third[name].astype(narrow).astype(np.float32)
        np.testing.assert_allclose(master, start[name] - np.float32(0.05) * gradient, rtol=1e-6)
        model = executed._watch.model[name].detach().double().numpy()
        assert model.tobytes() == master.astype(narrow).astype(np.float64).tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_wide_models_have_no_masters(dtype, run_torch):
    with pytest.raises(PathNotTaken, match=f"a model in {dtype} has no wider masters; use bfloat16 or float16"):
        run_torch("torch.optim:AdamW", "master-weights", dtype)


def test_masters_that_do_not_stay_wide(run_torch, feeds):
    class Narrows(torch.optim.SGD):
        def step(self, closure=None):
            super().step()
            for parameter in self.param_groups[0]["params"]:
                parameter.data = parameter.data.bfloat16()

    proof = run_torch(Narrows, "master-weights", "bfloat16", given=feeds[:1]).proof()
    assert not proof.on_path
    assert "update 1 left 'w' as bfloat16 and bfloat16, but should leave a float32 master" in proof.observed


def test_model_that_is_not_its_masters_rounding(run_torch, monkeypatch):
    def adrift(arrays, dtype):
        return {name: array.astype(ml_dtypes.bfloat16) + ml_dtypes.bfloat16(0.5) for name, array in arrays.items()}

    monkeypatch.setattr("optconform.adapters.torch_masters.host_copies", adrift)
    proof = run_torch("torch.optim:AdamW", "master-weights", "bfloat16").proof()
    assert not proof.on_path
    assert "update 1 left 'w' in the model as another value than its master rounded" in proof.observed


def test_sparse_gradients_keep_their_rows_in_a_narrow_model(parameters):
    rows = SparseRows(np.array([1]), np.array([[1 / 3, 2.0, 3.0]]), (2, 3))
    given = (Feed({"w": rows, "b": None, "scale": None}, 0.5),)
    row = load_runtime("torch").executions["master-weights"]
    target = load_target("torch.optim:SGD")
    executed = row.open(Opening(target, {"lr": 0.5}, parameters, given, "bfloat16", "cpu"))
    executed.step(given[0].gradients, given[0].lr)
    found = executed.read_parameters()["w"]
    third = np.float32(ml_dtypes.bfloat16(1 / 3))
    np.testing.assert_array_equal(found[1], np.float32([3.0, -0.75, 0.125]) - np.float32([third / 2, 1.0, 1.5]))
    assert executed.proof().on_path

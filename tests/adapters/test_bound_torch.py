"""Hypothesis tries to push real torch optimizers out of the rounding-error bound, extremes of the formats included."""

import numpy as np
import pytest

pytest.importorskip("torch")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optconform.adapters.arrays import HOST_DTYPES
from optconform.adapters.frameworks import load_adapter
from optconform.adapters.targets import load_target
from optconform.reference import RULES, AMSGrad, DecayLaw, Momentum
from optconform.reference.arithmetic import arithmetic
from optconform.reference.follow import Follower, Mode
from optconform.reference.formats import FORMATS
from optconform.reference.platforms import platform_of

pytestmark = pytest.mark.torch

LR_WD = {"law": DecayLaw.LR_WD}
RAW = {"amsgrad": AMSGrad.RAW}
SGD = {"momentum_form": Momentum.LR_OUTSIDE, "dampen_first_step": False}
OPTIMIZERS = {
    "AdamW": ("torch.optim:AdamW", {}, "adamw", LR_WD),
    "AdamW amsgrad": ("torch.optim:AdamW", {"amsgrad": True}, "adamw", {**LR_WD, **RAW}),
    "Adam": ("torch.optim:Adam", {}, "adam_l2", {}),
    "Adam amsgrad": ("torch.optim:Adam", {"amsgrad": True}, "adam_l2", RAW),
    "Adam decoupled": ("torch.optim:Adam", {"decoupled_weight_decay": True}, "adamw", LR_WD),
    "SGD": ("torch.optim:SGD", {}, "sgd_l2", SGD),
    "SGD nesterov": ("torch.optim:SGD", {"nesterov": True}, "sgd_l2", {**SGD, "nesterov": True}),
}
"""Name -> target, its options, the rule it is documented to follow, and the rule's variant."""

REPEATED = 33
"""Copies of the drawn elements: kernels treat whole vectors and what is left over by different code."""


@st.composite
def hyperparameters(draw, family):
    """Draw the ranges that are promised: lr 1e-6..1, wd 0..1, beta1 0...99, beta2 .5...9999, eps 1e-12..1e-3."""
    values = {
        "lr": draw(st.floats(1e-6, 1.0)),
        "weight_decay": draw(st.one_of(st.just(0.0), st.floats(1e-8, 1.0))),
    }
    if family == "adam":
        values["beta1"] = draw(st.one_of(st.just(0.0), st.floats(1e-3, 0.99)))
        values["beta2"] = draw(st.floats(0.5, 0.9999))
        values["eps"] = draw(st.floats(1e-12, 1e-3))
    else:
        values["momentum"] = draw(st.floats(1e-3, 0.99))
    return values


@st.composite
def traces(draw, dtype):
    """Draw theta_0 and one to four gradients, every finite number of the format among them."""
    shape = FORMATS[dtype]
    numbers = st.one_of(
        st.floats(-shape.largest, shape.largest),
        st.floats(-16.0, 16.0),
        st.sampled_from([0.0, shape.smallest_subnormal, shape.smallest_normal, shape.largest, shape.largest / 2]),
        st.sampled_from([shape.largest**0.5, shape.smallest_normal**0.5, 1.0, 1.0 - 2 * shape.unit_roundoff]),
    )
    size = draw(st.integers(1, 3))
    vectors = draw(st.lists(st.lists(numbers, min_size=size, max_size=size), min_size=2, max_size=5))
    with np.errstate(over="ignore"):
        return [np.tile(np.array(vector).astype(HOST_DTYPES[dtype]), REPEATED) for vector in vectors]


def follow(name, path, dtype, drawn, trace, working=None, changed=None):
    """Step the optimizer through the trace beside its rule; return every step's comparison."""
    spec, options, rule, variant = OPTIMIZERS[name]
    theta, *grads = trace
    optimizer = load_adapter("torch").build(
        load_target(spec), {**drawn, **options}, {"w": theta}, dtype=dtype, path=path
    )
    chosen = RULES[rule].options(**{**drawn, **variant, **(changed or {})})
    resync = dtype in ("bfloat16", "float16") and RULES[rule].family == "adam"
    mode = Mode.FULL_RESYNC if resync else Mode.THETA_RESYNC
    follower = Follower(RULES[rule], chosen, theta, arithmetic(dtype, working=working), mode=mode, engine="numpy")
    found = []
    for grad in grads:
        optimizer.step({"w": grad}, drawn["lr"])
        after = optimizer.read_parameters()["w"]
        state = {slot: values["w"] for slot, values in optimizer.read_state().items()} if resync else None
        with np.errstate(all="ignore"):
            found.append(follower.step(theta, grad, after, state_after=state).comparison)
        theta = after
    return found


def kernels(name, dtype):
    """Yield (path, working format): torch's fused kernels compute in float32 on 16-bit parameters."""
    yield from (("loop", None), ("foreach", None))
    narrow = dtype in ("bfloat16", "float16")
    if not (narrow and name.startswith("SGD")):  # pytorch issue 191763: that one does not move whole vectors
        yield "fused", "float32" if narrow else None


@pytest.mark.parametrize("dtype", list(HOST_DTYPES))
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_no_step_leaves_the_bound(name, dtype):
    family = RULES[OPTIMIZERS[name][2]].family

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(hyperparameters(family), traces(dtype), st.sampled_from(list(kernels(name, dtype))))
    def search(drawn, trace, kernel):
        for step, found in enumerate(follow(name, kernel[0], dtype, drawn, trace, kernel[1]), start=1):
            assert found.ratio <= 1.0, (step, found)

    search()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_root_of_torch_is_within_its_row_and_not_correctly_rounded(dtype):
    """In units of u, half an ulp; on the processors and builds that take it from oneMKL."""
    torch = pytest.importorskip("torch")
    squares = np.random.default_rng(0).uniform(1e-3, 4.0, 200_000).astype(dtype)
    root = torch.from_numpy(squares).sqrt().numpy()
    exact = np.sqrt(squares.astype(np.longdouble))
    error = np.abs(root - exact) / (np.spacing(root) / 2)
    assert error.max() <= platform_of("torch", "cpu").sqrt_error
    if "MKL" in torch.__config__.show():
        assert error.max() > platform_of("numpy", "cpu").sqrt_error

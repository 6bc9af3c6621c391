"""Hypothesis tries to push real Optax optimizers out of the rounding-error bound, extremes of the formats included."""

import numpy as np
import pytest

pytest.importorskip("jax")
pytest.importorskip("optax")

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

pytestmark = pytest.mark.jax

LR_WD = {"law": DecayLaw.LR_WD}
OUTSIDE = {"momentum_form": Momentum.LR_OUTSIDE}
CHAINS = "optconform.adapters.optax_chains"
ADAM, SGD = ("lr", "weight_decay", "beta1", "beta2", "eps"), ("lr", "weight_decay", "momentum")
OPTIMIZERS = {
    "adamw": ("optax:adamw", {}, "adamw", LR_WD, ADAM),
    "amsgrad": ("optax:amsgrad", {}, "adam_l2", {"amsgrad": AMSGrad.CORRECTED}, ("lr", "beta1", "beta2", "eps")),
    "adam_l2": (f"{CHAINS}:adam_l2", {}, "adam_l2", {}, ADAM),
    "sgd_l2": (f"{CHAINS}:sgd_l2", {}, "sgd_l2", OUTSIDE, SGD),
    "sgdw nesterov": (f"{CHAINS}:sgdw", {"nesterov": True}, "sgdw", {**LR_WD, **OUTSIDE, "nesterov": True}, SGD),
}
"""Name -> target, its options, the rule it is documented to follow, the rule's variant, what is drawn."""

VALUES = {
    "lr": st.floats(1e-6, 1.0),
    "weight_decay": st.one_of(st.just(0.0), st.floats(1e-8, 1.0)),
    "beta1": st.one_of(st.just(0.0), st.floats(1e-3, 0.99)),
    "beta2": st.floats(0.5, 0.9999),
    "eps": st.floats(1e-12, 1e-3),
    "momentum": st.floats(1e-3, 0.99),
}


@st.composite
def traces(draw, dtype):
    """Draw theta_0 and one or two gradients of four elements, every finite number of the format among them."""
    shape = FORMATS[dtype]
    numbers = st.one_of(
        st.floats(-shape.largest, shape.largest),
        st.floats(-16.0, 16.0),
        st.sampled_from([0.0, shape.smallest_subnormal, shape.smallest_normal, shape.largest**0.5, shape.largest]),
    )
    vectors = draw(st.lists(st.lists(numbers, min_size=4, max_size=4), min_size=2, max_size=3))
    with np.errstate(over="ignore"):
        return [np.array(vector).astype(HOST_DTYPES[dtype]) for vector in vectors]


@pytest.mark.parametrize("dtype", list(HOST_DTYPES))
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_no_step_leaves_the_bound(name, dtype):
    spec, options, rule_name, variant, names = OPTIMIZERS[name]
    rule, target = RULES[rule_name], load_target(spec)
    resync = dtype in ("bfloat16", "float16") and rule.family == "adam"
    mode = Mode.FULL_RESYNC if resync else Mode.THETA_RESYNC
    place = arithmetic(dtype, platform_of("jax", "cpu"))

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.fixed_dictionaries({each: VALUES[each] for each in names}), traces(dtype))
    def search(drawn, trace):
        theta, *grads = trace
        optimizer = load_adapter("jax").build(target, {**drawn, **options}, {"w": theta}, dtype=dtype, path="eager")
        follower = Follower(rule, rule.options(**drawn, **variant), theta, place, mode=mode, engine="numpy")
        for grad in grads:
            optimizer.step({"w": grad}, drawn["lr"])
            after = optimizer.read_parameters()["w"]
            state = {slot: of["w"] for slot, of in optimizer.read_state().items() if "w" in of} if resync else None
            with np.errstate(all="ignore"):
                found = follower.step(theta, grad, after, state_after=state).comparison
            assert found.ratio <= 1.0, found
            theta = after

    search()

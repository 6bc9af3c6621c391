"""Accept, reject, cannot tell, undecidable: each from a small real case, with what was told apart and what was not."""

import numpy as np
import pytest

from optconform.adapters import numpy_optimizers
from optconform.conformance.api import make_subject
from optconform.conformance.matching import match_trajectory
from optconform.reference import RULES, DecayLaw, DecayOrder
from optconform.reference.arithmetic import arithmetic
from optconform.reference.follow import Follower


class AdamW(numpy_optimizers.AdamW):
    """At an epsilon and a beta2 that show in six steps."""

    def __init__(self, weight_decay=0.1, beta1=0.9, beta2=0.97, eps=1e-3):
        super().__init__(weight_decay, beta1, beta2, eps)


class SGDW(numpy_optimizers.SGDW):
    def __init__(self, weight_decay=0.1, momentum=0.9):
        super().__init__(weight_decay, momentum)


class AdamL2(AdamW):
    def step(self, params, grads, lr):
        decay, self.weight_decay = self.weight_decay, 0.0
        moved = super().step(params, {name: grad + decay * params[name] for name, grad in grads.items()}, lr)
        self.weight_decay = decay
        return moved


@pytest.fixture
def trace(make_trace):
    return make_trace({"w": (7, 5), "b": (6,)}, 12, multipliers=(1.0, 0.5, 0.75, 0.25, 1.0, 0.125) * 2)


@pytest.fixture
def matched(trace):
    def run(target, on=trace, *, dtype="float64", mode=None, **options):
        subject = make_subject(target, framework="numpy", dtype=dtype, mode=mode, hyperparameters=options)
        return match_trajectory(subject, [on])

    return run


class TestAccept:
    @pytest.mark.parametrize(("target", "rule"), [(AdamW, "adamw"), (SGDW, "sgdw"), (AdamL2, "adam_l2")])
    def test_one_rule_inside_and_every_rival_outside(self, matched, target, rule):
        match = matched(target).match
        assert (match.decision, match.rule) == ("accept", rule)
        assert 0.0 < match.bound_ratio <= 1.0
        assert (match.elements, match.undecidable) == (12 * 41, 0)
        assert match.cannot_tell == ()
        assert match.rivals
        assert min(match.rivals.values()) > 1.0
        assert match.nearest is match.explained_by is None

    def test_one_kind_is_accepted_although_an_axis_is_not_told(self, matched):
        """In float32 an epsilon of 1e-12 does not show, wherever it stands."""
        found = matched(AdamW, dtype="float32", eps=1e-12)
        match = found.match
        assert (match.decision, match.rule, match.law, match.order) == ("accept", "adamw", "lr*wd", "previous")
        assert match.epsilon is None
        assert set(match.cannot_tell) == {"adamw[epsilon=hat]", "adamw[epsilon=inside]"}
        assert {each.axes()["epsilon"] for each in found.accepted} == {"outside", "hat", "inside"}


class TestCannotTell:
    def test_plain_sgd_is_both_kinds(self, matched):
        for weight_decay in (0.1, 1e-3):
            match = matched(SGDW, momentum=0.0, weight_decay=weight_decay).match
            assert (match.decision, match.rule) == ("cannot tell", "sgdw")
            assert match.bound_ratio <= 1.0
            assert match.cannot_tell == ("sgd_l2",)

    def test_plain_sgd_with_a_rounded_learning_rate_is_both_kinds_still(self, matched):
        class Rounding(SGDW):
            def step(self, params, grads, lr):
                return super().step(params, grads, float(np.float32(lr)))

        found = matched(Rounding, momentum=0.0)
        assert found.match.decision == "cannot tell"
        assert found.match.cannot_tell == ("sgd_l2",)
        assert found.rules == {"sgdw", "sgd_l2"}
        assert found.match.rivals["sgdw[casts=none]"] > 1e3
        # Whatever else differs in one axis is a rival here as well.
        assert {"sgdw[order=updated]", "sgdw[law=schedule*wd]"} <= found.match.rivals.keys()

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
    def test_a_decay_that_rounding_drowns(self, matched, dtype):
        match = matched(AdamW, dtype=dtype, weight_decay=1e-9).match
        assert match.decision == "cannot tell"
        assert any(name.startswith("adam_l2") for name in match.cannot_tell)
        assert match.law is match.order is None

    @pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
    @pytest.mark.parametrize("target", [AdamW, SGDW, AdamL2])
    def test_it_lists_the_rivals_that_are_not_rejected_and_no_other(self, matched, target, dtype):
        match = matched(target, dtype=dtype, **({} if target is SGDW else {"eps": 1e-8})).match
        assert match.rule is not None
        assert set(match.cannot_tell) == {name for name, ratio in match.rivals.items() if ratio <= 1.0}
        kinds = {RULES[name.partition("[")[0]].decoupled for name in (match.rule, *match.cannot_tell)}
        assert match.decision == ("accept" if len(kinds) == 1 else "cannot tell")


class TestReject:
    def test_nothing_fits(self, matched, zoo):
        class Bent(AdamW):
            def step(self, params, grads, lr):
                return super().step(params, {name: np.tanh(grad) for name, grad in grads.items()}, lr)

        for target in (Bent, zoo.Plain):
            found = matched(target, weight_decay=0.1)
            assert (found.match.decision, found.match.rule, found.accepted) == ("reject", None, ())
            assert found.match.bound_ratio is None
            assert found.match.explained_by is None
            assert found.match.rivals.keys() == {found.match.nearest}
            # The first violation is one of many; the figure shown is the worst.
            assert found.match.rivals[found.match.nearest] >= found.first_violation["factor"] > 1.0


class TestUndecidable:
    def test_no_gradient_at_all(self, matched, make_trace):
        none = make_trace(n_steps=3, missing={(step, name) for step in (1, 2, 3) for name in ("w", "b")})
        for target in (AdamW, SGDW):
            match = matched(target, none).match
            assert (match.decision, match.rule, match.elements, match.undecidable) == ("undecidable", None, 0, 0)

    def test_nothing_over_nothing(self, matched, make_trace):
        """eps = 0 and zero gradients: 0 / 0 in every step."""
        match = matched(AdamW, make_trace(n_steps=4, grads=0.0), eps=0.0).match
        assert (match.decision, match.rule, match.elements, match.undecidable) == ("undecidable", None, 0, 4 * 17)

    def test_one_gradient_decides(self, matched, make_trace):
        zero = make_trace(n_steps=4, grads=0.0)
        zero.gradients[0]["w"][...] = 1.0
        match = matched(AdamW, zero, eps=0.0).match
        assert (match.rule, match.elements, match.undecidable) == ("adamw", 4 * 12, 4 * 5)


class TestTooNearToReject:
    """A rival outside its own bound by a hair, where the two references lie nearer than the own bound reaches."""

    LR, WD = 1e-3, 5e-10
    """The two orders differ by lr * lr*wd * |q|, about 5e-16: a third of the bound at theta near 1."""

    @pytest.fixture
    def hair(self):
        """Return an optimizer that walks `adamw`, but at `at` just outside the bound of the order `updated`."""
        lr, wd = self.LR, self.WD
        rule, options = RULES["adamw"], RULES["adamw"].options
        own = options(lr=lr, weight_decay=wd, eps=1e-3, law=DecayLaw.LR_WD)
        rival = options(lr=lr, weight_decay=wd, eps=1e-3, law=DecayLaw.LR_WD, order=DecayOrder.UPDATED)

        class Hair:
            at, moved = (), None

            def __init__(self, lr=lr, weight_decay=wd, beta1=0.9, beta2=0.999, eps=1e-3):
                self.lr, self.beta1, self.beta2, self.eps = lr, beta1, beta2, eps
                self.count, self.followers = 0, None

            def step(self, params, grads, lr):
                ((name, theta),) = params.items()
                if self.followers is None:
                    self.followers = [Follower(rule, each, theta, arithmetic("float64")) for each in (own, rival)]
                self.count += 1
                every = np.arange(len(theta))
                one, other = (
                    each.step(theta, grads[name], theta, lr / self.lr, keep=every).kept for each in self.followers
                )
                if self.count not in self.at:
                    return {name: one.theta}
                outside = other.theta + np.sign(one.theta - other.theta) * 1.2 * other.bound
                hair = (np.abs(outside - other.theta) > other.bound) & (np.abs(outside - one.theta) <= one.bound)
                hair &= one.theta != other.theta
                self.moved.append(int(hair.sum()))
                return {name: np.where(hair, outside, one.theta)}

        return Hair

    @pytest.mark.parametrize("at", [2, 9])
    def test_it_is_not_rejected(self, hair, make_trace, at):
        """In step 2 the screening sees it, in step 9 the replay in full: neither rejects."""
        planted = type("Planted", (hair,), {"at": (at,), "moved": []})
        line = make_trace({"w": (200,)}, 12, theta=1.0)
        found = match_trajectory(make_subject(planted, framework="numpy"), [line])
        assert planted.moved
        assert min(planted.moved) > 0, "no element lies between the two bounds"
        assert found.match.bound_ratio <= 1.0
        assert (found.match.rule, found.match.order) == ("adamw", None)
        assert found.match.rivals["adamw[order=updated]"] <= 1.0
        assert "adamw[order=updated]" in found.match.cannot_tell

    def test_further_apart_it_is(self, make_trace):
        """The same rival at a decay that tells the two orders apart by ten thousand bounds."""
        line = make_trace({"w": (200,)}, 12, theta=1.0)
        subject = make_subject(AdamW, framework="numpy", hyperparameters={"weight_decay": 1e-4})
        match = match_trajectory(subject, [line]).match
        assert (match.order, match.cannot_tell) == ("previous", ())
        assert match.rivals["adamw[order=updated]"] > 1e3


class TestFreeRun:
    @pytest.mark.parametrize("dtype", ["float64", "float32"])
    def test_a_drifting_trajectory_is_accepted_and_l2_tried_beside_it(self, matched, dtype, make_trace):
        long = make_trace({"w": (30,)}, 60)
        free, resync = (matched(AdamW, long, dtype=dtype, mode=mode).match for mode in ("free-run", None))
        assert (free.decision, free.rule, free.order, free.mode) == ("accept", "adamw", "previous", "free-run")
        assert free.elements == resync.elements == 60 * 30
        assert free.bound_ratio != resync.bound_ratio
        kinds = {name: ratio for name, ratio in free.rivals.items() if name.startswith("adam_l2")}
        assert kinds
        assert min(kinds.values()) > 1e2

    def test_what_is_added_up_is_kept(self, make_trace):
        """theta is not taken over: a jump in step 20 is still there in step 40, and the bound is that of 20 steps."""

        class Jumping(SGDW):
            count = 0

            def step(self, params, grads, lr):
                self.count += 1
                moved = super().step(params, grads, lr)
                if self.count == 20:
                    moved["w"] = moved["w"] + 1e-9
                return moved

        long = make_trace({"w": (30,)}, 40)
        first = {}
        for mode in ("free-run", "theta-resync"):
            subject = make_subject(Jumping, framework="numpy", mode=mode)
            found = match_trajectory(subject, [long])
            assert (found.match.decision, found.first_violation["step"]) == ("reject", 20)
            first[mode] = found.first_violation
        assert first["free-run"]["bound"] > 3.0 * first["theta-resync"]["bound"]

    def test_l2_is_recognised(self, matched):
        match = matched(AdamL2, mode="free-run").match
        assert (match.decision, match.rule, match.mode) == ("accept", "adam_l2", "theta-resync")
        assert min(match.rivals.values()) > 1e3


class TestFullResync:
    def test_it_sees_a_second_moment_that_theta_hardly_shows(self, matched):
        """At eps = 1e3 an error of 1e-10 in v moves theta by 1e-16 of itself, below its bound."""

        class Drifting(AdamW):
            def step(self, params, grads, lr):
                moved = super().step(params, grads, lr)
                self.v = {name: v * (1 + 1e-10) for name, v in self.v.items()}
                return moved

        assert matched(Drifting, eps=1e3).match.rule == "adamw"
        assert matched(Drifting, eps=1e3, mode="theta-resync").match.rule == "adamw"
        full = matched(Drifting, eps=1e3, mode="full-resync").match
        assert (full.decision, full.rule, full.mode) == ("reject", None, "full-resync")
        assert matched(AdamW, eps=1e3, mode="full-resync").match.rule == "adamw"

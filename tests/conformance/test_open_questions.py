"""What an audit says that it cannot tell, and what it finds where the gradient is zero."""

import numpy as np
import pytest

from optconform.conformance.api import make_subject
from optconform.conformance.audit import audit
from optconform.conformance.expectation import parse_expectation


@pytest.fixture
def run(small_trace):
    def audited(target, expectation="any", trace=small_trace, dtype="float64", mode=None, **hyperparameters):
        subject = make_subject(target, framework="numpy", dtype=dtype, mode=mode, hyperparameters=hyperparameters)
        return audit(subject, [trace], parse_expectation(expectation))

    return audited


class TestCannotTell:
    def test_the_same_algebra_under_two_names(self, run, zoo):
        (sentence,) = run(zoo.Sgd).cannot_tell
        assert sentence.startswith("decoupled decay or L2, for 'w', 'b'")

    def test_the_order_where_the_step_is_proportional_to_theta(self, run, zoo, make_trace):
        sentences = run(zoo.Plain, trace=make_trace(grads=0.0)).cannot_tell
        assert any("previous or the updated" in sentence for sentence in sentences)

    def test_a_parameter_without_gradients(self, run, zoo, make_trace):
        silent = make_trace(missing={(step, "b") for step in range(1, 7)})
        (sentence,) = run(zoo.Plain, trace=silent).cannot_tell
        assert sentence == "the kind of decay of 'b': no step has a gradient: decay has nothing to act on"

    def test_many_parameters_are_counted(self, run, zoo, make_trace):
        (sentence,) = run(zoo.Sgd, trace=make_trace({f"w{index}": (3,) for index in range(7)})).cannot_tell
        assert "'w0', 'w1', 'w2' and 4 more: " in sentence

    def test_the_form_that_rounding_hides(self, run, zoo, make_trace):
        sentences = run(zoo.Plain, dtype="float16", trace=make_trace({"w": (64, 64)}, 8)).cannot_tell
        assert all("the form of the decay" not in sentence for sentence in run(zoo.Plain).cannot_tell)
        assert sentences

    @pytest.mark.parametrize("name", ["Plain", "L2", "PostUpdate", "Twice", "Sign"])
    def test_nothing_where_everything_is_told(self, run, zoo, name):
        assert run(getattr(zoo, name)).cannot_tell == ()

    def test_it_is_in_the_document(self, run, zoo):
        result = run(zoo.Sgd)
        assert result.to_json()["cannot_tell"] == list(result.cannot_tell)


class TestZeroGradient:
    """A second decay, too small to show beside the gradients, is alone where they vanish."""

    def test_it_is_found(self, run, zoo):
        class Hidden(zoo.Plain):
            """theta <- theta - lr*sign(g + 1e-12*wd*theta) - lr*wd*theta."""

            def update(self, name, theta, grad, lr):
                step = lr * np.sign(grad + 1e-12 * self.weight_decay * theta)
                return theta - step - self.decay(name, theta, grad, lr)

        result = run(Hidden, "decoupled", weight_decay=0.1)
        (finding,) = (each for each in result.findings if each.rule == "OC301")
        assert (result.verdict, str(finding.severity), int(result.exit_status)) == ("decoupled", "error", 1)
        assert finding.evidence["effective_ratio"] > 5.0

    @pytest.mark.parametrize("name", ["Plain", "PostUpdate", "Proximal", "Twice", "PlainWd", "Sgd", "MomentumL2"])
    @pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
    def test_sound_decays_have_none(self, run, zoo, name, dtype):
        result = run(getattr(zoo, name), dtype=dtype, weight_decay=0.1)
        assert "OC301" not in {finding.rule for finding in result.findings}

    def test_decay_that_needs_a_gradient_is_a_warning(self, run, zoo):
        class Lazy(zoo.Plain):
            def decay(self, name, theta, grad, lr):
                return super().decay(name, theta, grad, lr) * (grad != 0.0)

        result = run(Lazy, "decoupled", weight_decay=0.1)
        assert {each.rule: str(each.severity) for each in result.findings}["OC301"] == "warning"


def test_full_resync_needs_no_buffer_where_there_is_no_momentum(run, zoo):
    result = run(zoo.Sgd, "equivalent", mode="full-resync", weight_decay=0.1)
    assert (result.verdict, int(result.exit_status)) == ("equivalent", 0)


@pytest.mark.parametrize("magnitude", [1e200, 1e-200])
def test_parameters_of_any_magnitude_are_judged(run, zoo, make_trace, magnitude):
    result = run(zoo.Plain, "decoupled", trace=make_trace(theta=magnitude, grads=0.0))
    # Next to steps of zero, and below what tanh bends, L2 is the same algebra.
    assert result.verdict in ("decoupled", "equivalent")
    assert int(result.exit_status) == 0

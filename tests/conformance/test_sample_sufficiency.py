"""A sample of coordinates shows what an element-wise optimizer does, and is refused where coordinates are coupled."""

import numpy as np
import pytest

from optconform.conformance.api import audit, make_subject
from optconform.conformance.compare import compare
from optconform.conformance.compare_result import Outcome
from optconform.conformance.result import ExitStatus, Severity, Verdict
from optconform.conformance.sample_sufficiency import cut_shape, usable_traces
from optconform.conformance.traces import MemoryTrace, Parameter

pytestmark = pytest.mark.numpy

WHOLE = {"matrix": (4096, 4096), "kernel": (64, 3, 3, 128), "table": (50_000,)}
"""Shapes that the sampled parameters of `recorded` are taken from."""


def recorded(name="run", whole=WHOLE, **unsampled):
    """Return a trace of samples of 300 coordinates, and of whole parameters of the shapes in `unsampled`."""
    rng = np.random.default_rng(3)
    parameters = (
        *(Parameter(key, (300,), "float64", shape) for key, shape in whole.items()),
        *(Parameter(key, shape, "float64") for key, shape in unsampled.items()),
    )
    return MemoryTrace(
        name=name,
        parameters=parameters,
        multipliers=(1.0, 0.5, 1.0, 0.25),
        initial={each.name: np.asarray(rng.standard_normal(each.shape)) for each in parameters},
        gradients=tuple(
            {each.name: np.asarray(rng.standard_normal(each.shape)) for each in parameters} for _ in range(4)
        ),
    )


def norm(array):
    """Return the Euclidean norm; that of NumPy goes through BLAS, whose threads cost more than they save here."""
    return float(np.sqrt(np.sum(array * array)))


class Rule:
    """theta <- theta - lr*(direction + wd*theta), each parameter by itself. Subclasses change the direction."""

    def __init__(self, weight_decay=0.0):
        self.weight_decay = weight_decay
        self.state = {}

    def step(self, params, grads, lr):
        return {
            name: theta if grads[name] is None else self.moved(name, theta, grads[name], lr)
            for name, theta in params.items()
        }

    def moved(self, name, theta, grad, lr):
        return theta - lr * (self.direction(name, grad) + self.weight_decay * theta)

    def direction(self, name, grad):
        self.state[name] = 0.9 * self.state.get(name, 0.0) + grad
        return self.state[name]


class AdamW(Rule):
    def direction(self, name, grad):
        m, v, t = self.state.get(name, (0.0, 0.0, 0))
        m, v, t = 0.9 * m + 0.1 * grad, 0.99 * v + 0.01 * grad * grad, t + 1
        self.state[name] = m, v, t
        return m / (1.0 - 0.9**t) / (np.sqrt(v / (1.0 - 0.99**t)) + 1e-8)


class Lion(Rule):
    def direction(self, name, grad):
        m = self.state.get(name, 0.0)
        self.state[name] = 0.99 * m + 0.01 * grad
        return np.sign(0.9 * m + 0.1 * grad)


class Cautious(AdamW):
    """Decays only where the step shrinks theta already."""

    def moved(self, name, theta, grad, lr):
        direction = self.direction(name, grad)
        return theta - lr * (direction + self.weight_decay * np.where(direction * theta > 0.0, theta, 0.0))


class SumsInAnotherOrder(AdamW):
    """Rounds differently in a vector and in a tensor of more dimensions, as other kernels do."""

    def moved(self, name, theta, grad, lr):
        direction = self.direction(name, grad)
        if theta.ndim == 1:
            return (theta - lr * direction) - (lr * self.weight_decay) * theta
        return theta * (1.0 - lr * self.weight_decay) - lr * direction


class Lamb(AdamW):
    def moved(self, name, theta, grad, lr):
        step = self.direction(name, grad) + self.weight_decay * theta
        return theta - lr * norm(theta) / norm(step) * step


class Lars(Rule):
    def moved(self, name, theta, grad, lr):
        step = grad + self.weight_decay * theta
        scaled = 1e-3 * norm(theta) / norm(step) * step
        return theta - lr * self.direction(name, scaled)


class ClippedByItsNorm(AdamW):
    """Clips each gradient to a norm that a sample of it does not reach: the second moment takes the scale out again."""

    def direction(self, name, grad):
        return super().direction(name, grad / max(1.0, norm(grad) / 200.0))


class Factored(Rule):
    """Second moments by row and column, as in Adafactor, of matrices of 128 rows and columns or more."""

    def direction(self, name, grad):
        if grad.ndim < 2 or min(grad.shape) < 128:
            return grad / (np.abs(grad) + 1e-8)
        square = grad * grad
        rows, columns = square.mean(axis=-1, keepdims=True), square.mean(axis=-2, keepdims=True)
        return grad / np.sqrt(rows * columns / square.mean(axis=(-1, -2), keepdims=True))


class Orthogonal(Rule):
    """The momentum of a matrix, made orthogonal, as in Muon; vectors by their signs."""

    def direction(self, name, grad):
        momentum = super().direction(name, grad)
        if grad.ndim != 2:
            return np.sign(momentum)
        left, _, right = np.linalg.svd(momentum, full_matrices=False)
        return left @ right


class OrthogonalOnly(Orthogonal):
    def direction(self, name, grad):
        if grad.ndim != 2:
            raise ValueError("matrices only")
        return super().direction(name, grad)


class GloballyClipped(AdamW):
    def step(self, params, grads, lr):
        norm = np.sqrt(sum(float(np.sum(grad * grad)) for grad in grads.values() if grad is not None))
        clipped = {name: None if grad is None else grad / max(1.0, norm) for name, grad in grads.items()}
        return super().step(params, clipped, lr)


class NoDecayOnVectors(AdamW):
    def moved(self, name, theta, grad, lr):
        decay = self.weight_decay if theta.ndim > 1 else 0.0
        return theta - lr * (self.direction(name, grad) + decay * theta)


class Noisy(AdamW):
    """Element by element, and with noise that no sample repeats."""

    def direction(self, name, grad):
        return super().direction(name, grad) + np.random.normal(size=grad.shape)  # noqa: NPY002 (the global generator)


class Broken(Rule):
    def moved(self, name, theta, grad, lr):
        raise RuntimeError("no step today")


def weak_names(target, trace=None, **hyperparameters):
    subject = make_subject(target, framework="numpy", hyperparameters=hyperparameters)
    _, weak = usable_traces(subject, [trace or recorded()])
    return {name for each in weak for name in each.names}


@pytest.mark.parametrize("target", [Rule, AdamW, Lion, Cautious, SumsInAnotherOrder, Noisy, Broken])
def test_samples_are_enough_for(target):
    assert weak_names(target) == set()


@pytest.mark.parametrize(
    ("target", "weak"),
    [
        (Lamb, set(WHOLE)),
        (Lars, set(WHOLE)),
        (GloballyClipped, set(WHOLE)),
        (ClippedByItsNorm, set(WHOLE)),
        (Factored, {"matrix"}),
        (NoDecayOnVectors, {"matrix", "kernel"}),
    ],
)
def test_samples_are_too_little_for(target, weak):
    assert weak_names(target) == weak


@pytest.mark.parametrize("target", [Orthogonal, OrthogonalOnly])
def test_samples_are_too_little_for_matrix_steps(target):
    assert weak_names(target, recorded(whole={"matrix": (64, 32), "table": (1000,)})) == {"matrix"}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(("target", "enough"), [(AdamW, True), (Lamb, False), (Lars, False), (Factored, False)])
def test_in_lower_precision_too(target, enough, dtype):
    subject = make_subject(target, framework="numpy", dtype=dtype)
    _, weak = usable_traces(subject, [recorded(whole={"matrix": (4096, 4096)})])
    assert bool(weak) is not enough


def test_a_matrix_that_is_not_factored_may_be_sampled():
    trace = recorded(whole={"wide": (64, 60_000), "square": (300, 300)})
    assert weak_names(Factored, trace) == {"square"}


def test_whole_parameters_stay(monkeypatch):
    trace, whole = recorded(weight=(3, 4)), recorded("whole", whole={}, weight=(3, 4))
    subject = make_subject(Lamb, framework="numpy")
    usable, weak = usable_traces(subject, [trace, recorded("sampled"), whole])
    assert [each.name for each in usable] == ["run", "whole"]
    assert [[each.name for each in trace.parameters] for trace in usable] == [["weight"], ["weight"]]
    assert usable[1] is whole
    assert [each.trace.name for each in weak] == ["run", "sampled"]
    monkeypatch.setattr(Lamb, "step", None)  # nothing is run where nothing is sampled
    assert usable_traces(subject, [whole]) == ([whole], ())


def test_each_shape_is_tried_once(monkeypatch):
    built = []
    monkeypatch.setattr(AdamW, "__init__", lambda self, weight_decay=0.0: (built.append(1), Rule.__init__(self))[0])
    whole = {f"layer{number}": (1024 + number, 4096) for number in range(20)}
    assert weak_names(AdamW, recorded(whole=whole)) == set()
    assert len(built) == 2


def test_the_message():
    result = audit(Lamb, framework="numpy", traces=[recorded(weight=(30, 40))], metamorphic=False)
    (finding,) = (each for each in result.findings if each.rule == "OC905")
    assert finding.severity is Severity.WARNING
    assert finding.message.startswith(
        "trace run, 'matrix' and 2 more: sampled 300 of 16,777,216 coordinates, and the step of one coordinate depends "
        "on the others, or on the tensor's shape (trust ratio, factored second moment, matrix step): "
    )
    assert finding.message.endswith("; record these parameters whole")
    assert finding.evidence["parameters"] == list(WHOLE)
    assert finding.evidence["ratio"] > 1e6
    assert [each.name for each in result.parameters] == ["weight"]
    assert result.verdict is Verdict.PRECONDITIONED


def test_nothing_is_decided_where_only_samples_are_left():
    result = audit(Lamb, framework="numpy", traces=[recorded()], expect="any")
    assert (result.verdict, result.exit_status) == (Verdict.INCONCLUSIVE, ExitStatus.UNDECIDED)
    assert "sampled 300 of 16,777,216 coordinates" in result.reason
    assert [each.rule for each in result.findings] == ["OC905"]
    assert result.traces[0]["name"] == "run"
    assert result.checks == ()


def test_an_element_wise_optimizer_is_judged_on_its_sample():
    result = audit(AdamW, framework="numpy", traces=[recorded()], metamorphic=False)
    assert (result.verdict, result.exit_status) == (Verdict.DECOUPLED, ExitStatus.AS_EXPECTED)
    assert [each.name for each in result.parameters] == list(WHOLE)
    assert not [each for each in result.findings if each.rule == "OC905"]


def test_a_step_that_fails_is_the_audits_to_tell():
    result = audit(Broken, framework="numpy", traces=[recorded()], metamorphic=False)
    assert [each.rule for each in result.findings] == ["OC902"]


def test_a_vector_that_is_refused_is_said_to_be():
    result = audit(OrthogonalOnly, framework="numpy", traces=[recorded(whole={"matrix": (64, 32)})])
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "does not step a vector as it does the tensor: " in result.reason
    assert "matrices only" in result.reason


@pytest.mark.parametrize(
    ("shape", "cut"),
    [
        ((4096, 4096), (136, 136)),
        ((135, 4096), (128, 136)),
        ((100, 7), (64, 4)),
        ((64, 3, 7, 7), (64, 2, 4, 2)),
        ((3, 3, 512, 512), (2, 2, 136, 136)),
        ((50_000,), (18_496,)),
        ((1,), (1,)),
        ((1, 1), (1, 1)),
    ],
)
def test_shapes_are_cut(shape, cut):
    assert cut_shape(shape) == cut


def test_a_comparison_leaves_weak_samples_out_and_says_so():
    first, second = (make_subject(target, framework="numpy") for target in (AdamW, Lamb))
    result = compare(second, second, [recorded(weight=(30, 40))])
    assert result.outcome is Outcome.SAME
    assert result.reason.count("; left out: trace run, 'matrix' and 2 more: sampled 300 of 16,777,216") == 1
    result = compare(first, second, [recorded()])
    assert result.outcome is Outcome.CANNOT_TELL
    assert "left out: trace run, 'matrix' and 2 more" in result.reason
    assert "left out" not in compare(first, first, [recorded()]).reason


def test_nothing_is_asked_of_a_target_without_the_option():
    class NoDecay:
        def step(self, params, grads, lr):
            raise AssertionError("not to be stepped")

    assert audit(NoDecay, framework="numpy", traces=[recorded()], metamorphic=False).verdict is Verdict.NONE

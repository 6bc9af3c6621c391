"""The rule table: every finding that can be reported, when it fires, why it matters and what to do.

A row is all there is to a rule besides the function in `findings` that decides whether it fires.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .result import Severity

_ERROR, _WARNING, _INFO = Severity.ERROR, Severity.WARNING, Severity.INFO


@dataclass(frozen=True, slots=True)
class Code:
    """One row of the rule table."""

    code: str
    name: str
    severity: Severity
    fires_when: str
    why: str
    example: str
    remedy: str


_ROWS = (
    Code(
        "OC101",
        "coupled-decay",
        _ERROR,
        "L2 regularisation (the substitution test passes) where decoupled decay is expected",
        "Under an adaptive rule, lambda*theta in the gradient is divided by sqrt(v) like the rest of it: weights with "
        "large gradients hardly decay. No L2 coefficient reproduces decoupled decay (Proposition 2 of the paper).",
        "optconform audit torch.optim:Adam --set weight_decay=0.1",
        "Subtract c*theta from the parameters instead of adding lambda*theta to the gradient; or expect it with "
        "--expect l2.",
    ),
    Code(
        "OC102",
        "ignored-decay",
        _ERROR,
        "the weight_decay option is accepted and changes no bit of the parameters at probe values",
        "A run configured with weight decay trains without it, and nothing says so.",
        "an optimizer whose step never reads group['weight_decay']",
        "Apply the decay, or refuse the option.",
    ),
    Code(
        "OC103",
        "state-depends-on-decay",
        _ERROR,
        "the moments change with weight_decay although each step, taken alone, decays by a multiple of theta",
        "What decay puts into a momentum buffer goes on acting in the steps to come, and is no decoupled decay.",
        "adding weight_decay*theta to the normalised update before it enters the momentum buffer",
        "Apply the decay to the parameters, after the buffer. State that averages the weights themselves is exempt.",
    ),
    Code(
        "OC104",
        "post-update-decay",
        _WARNING,
        "decay acts on the parameters after the step instead of those before it",
        "(theta - u)*(1 - c) differs from the paper's theta - u - c*theta by c*u in every step: invisible at lr 1e-3, "
        "wd 1e-2, about .01 a step at lr 0.1, wd 0.5. Proximal decay, (theta - u)/(1 + c), is told apart by its form.",
        "theta.add_(update); theta.mul_(1 - lr * weight_decay)",
        "Decay the parameters before the step, or state the order in the documentation.",
    ),
    Code(
        "OC105",
        "wrong-decay-target",
        _ERROR,
        "decay moves the parameters by a constant or by their sign, not in proportion to them",
        "Small weights are pushed through zero and, with a constant, negative weights grow.",
        "theta.sub_(lr * weight_decay)",
        "Multiply by the parameter: theta.sub_(lr * weight_decay * theta).",
    ),
    Code(
        "OC106",
        "decay-grows-weights",
        _ERROR,
        "decay moves the parameters away from zero",
        "The weights grow exponentially in lr*wd instead of shrinking.",
        "optax.chain(optax.sgd(lr), optax.add_decayed_weights(wd)): wd*theta is added after the sign was turned",
        "Turn the sign; in Optax, add decayed weights before scaling by the learning rate.",
    ),
    Code(
        "OC108",
        "repeated-decay",
        _ERROR,
        "c = 1 - (1 - x)**n with n >= 2: the decay is applied n times in one step",
        "Decay is n times as strong as configured.",
        "decaying inside a loop over devices or dtypes instead of once",
        "Apply the decay once per parameter and step.",
    ),
    Code(
        "OC109",
        "uneven-decay",
        _WARNING,
        "parameters of one group decay by different coefficients in the same step; an error between parameters of the "
        "same number of dimensions",
        "One weight_decay was configured, and some parameters get another: which ones is nowhere to be seen.",
        "halving the decay of every second tensor",
        "Use one coefficient for a group; put parameters that should decay less into a group of their own.",
    ),
    Code(
        "OC201",
        "decay-law",
        _INFO,
        "reports which law the decay follows; an error where it differs from the law expected",
        "The same weight_decay means a decay 1/lr times as strong under another law: the classic trap when "
        "hyperparameters are carried from one library to another.",
        "optconform audit torch.optim:AdamW --expect decoupled,law=wd",
        "Convert the hyperparameter when porting: lambda under `wd` is lr*lambda under `lr*wd`.",
    ),
    Code(
        "OC202",
        "decay-ignores-schedule",
        _WARNING,
        "the learning rate changes from step to step and a decay proportional to the base rate does not",
        "Late in a cosine schedule the steps vanish and such a decay goes on pulling the weights to zero.",
        "decay computed once from the constructor's lr",
        "Read the learning rate in the step, or document that decay does not follow the schedule.",
    ),
    Code(
        "OC203",
        "stale-decay-lr",
        _ERROR,
        "decay follows the learning rate of the step before",
        "In a warm-up every decay lags one step; after a jump one step decays by the old rate.",
        "the coefficient is cached at the end of a step",
        "Compute the coefficient from the learning rate of the step itself.",
    ),
    Code(
        "OC204",
        "lost-decay",
        _WARNING,
        "rounding in the working precision changes the decay by more than 10%; an error where nothing is left of it at "
        "hyperparameters the user set",
        "A decay of c = lr*wd a step is lost where c is below half an ulp of 1: 3e-8 in float32; in bfloat16 .002, "
        "that is, at every usual setting. Just above that it is up to three times too strong.",
        "optconform audit torch.optim:AdamW --set lr=1e-6 --set weight_decay=0.02 --dtype float32",
        "Keep master weights in a wider format, raise lr*wd, apply a decay of k*c in every k-th step, or round "
        "stochastically.",
    ),
    Code(
        "OC301",
        "update-mismatch",
        _ERROR,
        "the trajectory leaves the bound of the rule that this class is documented to follow, or decay at the "
        "user's own hyperparameters is of another kind than at the probe's",
        "Something besides the decay differs from the documented recurrence; the evidence says at which step.",
        "m / (sqrt(v) - eps)",
        "Look at the first step and element named, and at the hypothesis that came nearest.",
    ),
    Code(
        "OC302",
        "epsilon-placement",
        _INFO,
        "reports where epsilon enters: outside the root, hat (added to the uncorrected root), or inside; an error "
        "where it differs from what is expected",
        "At t = 1 and beta2 = .999 eps-hat is 32 times as large as the same eps outside; carrying eps over between "
        "frameworks changes early steps.",
        "optconform audit keras.optimizers:AdamW --expect decoupled,epsilon=outside",
        "Move eps, or convert it: eps_outside = eps_hat / sqrt(1 - beta2**t).",
    ),
    Code(
        "OC303",
        "bias-correction",
        _ERROR,
        "bias correction is missing or off by one step in a rule that is otherwise Adam's",
        "At beta1 = .9, beta2 = .999 the first step is three quarters as long as it should be when the count is off by "
        "one (.526/.707), and three times too long without correction (.1/.0316).",
        "the step counter is advanced before and inside the update",
        "Use t = 1 in the first step, in both corrections.",
    ),
    Code(
        "OC304",
        "momentum-convention",
        _INFO,
        "reports whether the learning rate is inside or outside the momentum buffer; an error where it differs from "
        "what is expected",
        "The two agree at a constant rate and part as soon as it changes: old gradients keep their old rate inside.",
        "optconform audit torch.optim:SGD --set momentum=0.9 --expect l2,momentum=lr_inside",
        "Nothing, unless a schedule is carried over from the other convention.",
    ),
    Code(
        "OC305",
        "rounded-hyperparameter",
        _WARNING,
        "a hyperparameter is held or used in lower precision than the parameters have",
        "In float64, a learning rate that passed through float32 is off by up to 6e-8 of itself, and so is every step.",
        "optconform audit keras.optimizers:AdamW; or torch.optim.AdamW(params, lr=torch.tensor(1e-3)) over float64 "
        "parameters",
        "Choose values that the narrower format holds exactly, give tensors of the parameters' dtype, or do not rely "
        "on more than the narrower format.",
    ),
    Code(
        "OC306",
        "degenerate-constant",
        _WARNING,
        "eps rounds to 0, or a decay rate (beta1, beta2, momentum) to 1, in the working precision",
        "Without eps, an element that has had no gradient yet is 0/0. A rate that rounds to 1 makes an average that "
        "never forgets: v*beta2 rounds back to v, so v only grows and the steps only shrink.",
        "eps=1e-8 in float16, where the smallest number is 6e-8; beta2=.999 in bfloat16, where 1 follows .996",
        "Keep the state in float32, or choose constants that the format holds: eps of 1e-7 or more in float16, beta2 "
        "of at most .99 in bfloat16.",
    ),
    Code(
        "OC409",
        "non-finite",
        _ERROR,
        "NaN or infinity in the parameters on finite gradients",
        "One such element spreads through the model.",
        "0/0 in the first step of a parameter without gradient, with eps = 0",
        "Guard the division; look at the parameter named.",
    ),
    Code(
        "OC901",
        "cannot-build",
        _ERROR,
        "the target cannot be constructed as asked, or its framework or device is not there",
        "Nothing was checked.",
        "optconform audit torch.optim:AdamW --set lr=-1",
        "The message holds the original error; correct the options, or install what is missing.",
    ),
    Code(
        "OC902",
        "step-failed",
        _ERROR,
        "the optimizer raised while stepping",
        "Nothing can be concluded from a run that did not finish.",
        "an optimizer that needs a closure",
        "The message holds the original error; run the step by hand with the same shapes.",
    ),
    Code(
        "OC905",
        "weak-trace",
        _WARNING,
        "a trace cannot separate the hypotheses for some parameter",
        "A verdict from such a trace alone would be a guess, so none is given.",
        "a trace without steps, or a parameter that is zero throughout",
        "Add a trace in which the parameter named is not zero and has gradients: optconform trace make mixed.",
    ),
)

CODES: Mapping[str, Code] = MappingProxyType({row.code: row for row in _ROWS})
"""Code -> row, in the order of the codes."""

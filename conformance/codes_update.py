"""Rows OC301 to OC306 of the rule table: the update besides its decay."""

from __future__ import annotations

from .code_row import ERROR, INFO, WARNING, Code

ROWS = (
    Code(
        "OC301",
        "update-mismatch",
        ERROR,
        "the trajectory leaves the bound of the rule that this class is documented to follow, or decay at the "
        "user's own hyperparameters is of another kind than at the probe's, or of another strength where the gradient "
        "is zero than its law says (a warning where it is less)",
        "Something besides the decay differs from the documented recurrence; the evidence says at which step.",
        "m / (sqrt(v) - eps)",
        "Look at the first step and element named, and at the hypothesis that came nearest.",
    ),
    Code(
        "OC302",
        "epsilon-placement",
        INFO,
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
        ERROR,
        "bias correction is missing or off by one step in a rule that is otherwise Adam's",
        "At beta1 = .9, beta2 = .999 the first step is three quarters as long as it should be when the count is off by "
        "one (.526/.707), and three times too long without correction (.1/.0316).",
        "the step counter is advanced before and inside the update",
        "Use t = 1 in the first step, in both corrections.",
    ),
    Code(
        "OC304",
        "momentum-convention",
        INFO,
        "reports whether the learning rate is inside or outside the momentum buffer; an error where it differs from "
        "what is expected",
        "The two agree at a constant rate and part as soon as it changes: old gradients keep their old rate inside.",
        "optconform audit torch.optim:SGD --set momentum=0.9 --expect l2,momentum=lr_inside",
        "Nothing, unless a schedule is carried over from the other convention.",
    ),
    Code(
        "OC305",
        "rounded-hyperparameter",
        WARNING,
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
        WARNING,
        "eps rounds to 0, or a decay rate (beta1, beta2, momentum) to 1, in the working precision",
        "Without eps, an element that has had no gradient yet is 0/0. A rate that rounds to 1 makes an average that "
        "never forgets: v*beta2 rounds back to v, so v only grows and the steps only shrink.",
        "eps=1e-8 in float16, where the smallest number is 6e-8; beta2=.999 in bfloat16, where 1 follows .996",
        "Keep the state in float32, or choose constants that the format holds: eps of 1e-7 or more in float16, beta2 "
        "of at most .99 in bfloat16.",
    ),
)

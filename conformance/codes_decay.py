"""Rows OC101 to OC204 of the rule table: the kind of the decay, its law, and what rounding leaves of it."""

from __future__ import annotations

from .code_row import ERROR, INFO, WARNING, Code

ROWS = (
    Code(
        "OC101",
        "coupled-decay",
        ERROR,
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
        ERROR,
        "the weight_decay option is accepted and changes no bit of the parameters at probe values",
        "A run configured with weight decay trains without it, and nothing says so.",
        "an optimizer whose step never reads group['weight_decay']",
        "Apply the decay, or refuse the option.",
    ),
    Code(
        "OC103",
        "state-depends-on-decay",
        ERROR,
        "the moments change with weight_decay although each step, taken alone, decays by a multiple of theta",
        "What decay puts into a momentum buffer goes on acting in the steps to come, and is no decoupled decay.",
        "adding weight_decay*theta to the normalised update before it enters the momentum buffer",
        "Apply the decay to the parameters, after the buffer. State that averages the weights themselves is exempt.",
    ),
    Code(
        "OC104",
        "post-update-decay",
        WARNING,
        "decay acts on the parameters after the step instead of those before it",
        "(theta - u)*(1 - c) differs from the paper's theta - u - c*theta by c*u in every step: invisible at lr 1e-3, "
        "wd 1e-2, about .01 a step at lr 0.1, wd 0.5. Proximal decay, (theta - u)/(1 + c), is told apart by its form.",
        "theta.add_(update); theta.mul_(1 - lr * weight_decay)",
        "Decay the parameters before the step, or state the order in the documentation.",
    ),
    Code(
        "OC105",
        "wrong-decay-target",
        ERROR,
        "decay moves the parameters by a constant, by their sign or by another tensor (the initial parameters, the "
        "step, the gradient), not in proportion to them",
        "Small weights are pushed through zero and, with a constant, negative weights grow.",
        "theta.sub_(lr * weight_decay)",
        "Multiply by the parameter: theta.sub_(lr * weight_decay * theta).",
    ),
    Code(
        "OC106",
        "decay-grows-weights",
        ERROR,
        "decay moves the parameters away from zero",
        "The weights grow exponentially in lr*wd instead of shrinking.",
        "optax.chain(optax.sgd(lr), optax.add_decayed_weights(wd)): wd*theta is added after the sign was turned",
        "Turn the sign; in Optax, add decayed weights before scaling by the learning rate.",
    ),
    Code(
        "OC107",
        "preconditioned-decay",
        WARNING,
        "decay is scaled element-wise or by a trust ratio, or enters the momentum after the normalisation",
        "How much a weight decays is up to its gradients, or to the ratio of two norms: the same weight_decay means "
        "another decay in every tensor, element or step. LAMB, LARS and NovoGrad are meant to do so.",
        "theta.sub_(lr * trust_ratio * (update + weight_decay * theta))",
        "Subtract c*theta apart from the scaled step; or expect it with --expect preconditioned.",
    ),
    Code(
        "OC108",
        "repeated-decay",
        ERROR,
        "c = 1 - (1 - x)**n with n >= 2: the decay is applied n times in one step",
        "Decay is n times as strong as configured.",
        "decaying inside a loop over devices or dtypes instead of once",
        "Apply the decay once per parameter and step.",
    ),
    Code(
        "OC109",
        "uneven-decay",
        WARNING,
        "parameters of one group decay by different coefficients in the same step, or some not at all although nobody "
        "excluded them; an error between parameters of the same number of dimensions",
        "One weight_decay was configured, and some parameters get another: which ones is nowhere to be seen.",
        "halving the decay of every second tensor",
        "Use one coefficient for a group; put parameters that should decay less into a group of their own.",
    ),
    Code(
        "OC201",
        "decay-law",
        INFO,
        "reports which law the decay follows; an error where it differs from the law expected",
        "The same weight_decay means a decay 1/lr times as strong under another law: the classic trap when "
        "hyperparameters are carried from one library to another.",
        "optconform audit torch.optim:AdamW --expect decoupled,law=wd",
        "Convert the hyperparameter when porting: lambda under `wd` is lr*lambda under `lr*wd`.",
    ),
    Code(
        "OC202",
        "decay-ignores-schedule",
        WARNING,
        "the learning rate changes from step to step and a decay proportional to the base rate does not",
        "Late in a cosine schedule the steps vanish and such a decay goes on pulling the weights to zero.",
        "decay computed once from the constructor's lr",
        "Read the learning rate in the step, or document that decay does not follow the schedule.",
    ),
    Code(
        "OC203",
        "stale-decay-lr",
        ERROR,
        "decay follows the learning rate of the step before",
        "In a warm-up every decay lags one step; after a jump one step decays by the old rate.",
        "the coefficient is cached at the end of a step",
        "Compute the coefficient from the learning rate of the step itself.",
    ),
    Code(
        "OC204",
        "lost-decay",
        WARNING,
        "rounding in the working precision changes the decay by more than 10%; an error where nothing is left of it at "
        "hyperparameters the user set",
        "A decay of c = lr*wd a step is lost where c is below half an ulp of 1: 3e-8 in float32; in bfloat16 .002, "
        "that is, at every usual setting. Just above that it is up to three times too strong.",
        "optconform audit torch.optim:AdamW --set lr=1e-6 --set weight_decay=0.02 --dtype float32",
        "Keep master weights in a wider format, raise lr*wd, apply a decay of k*c in every k-th step, or round "
        "stochastically.",
    ),
)

"""Rows OC401 to OC414 of the rule table: two ways of using one optimizer that must agree."""

from __future__ import annotations

from .code_row import ERROR, WARNING, Code

ROWS = (
    Code(
        "OC401",
        "maximize-asymmetry",
        ERROR,
        "maximize=True over the gradients g is not maximize=False over -g, decay included",
        "Maximising a function is minimising its negative, and decay shrinks the weights in both. Where the decay is "
        "turned along with the gradient, the weights grow.",
        "if maximize: update = -update, after weight_decay*theta was added to it",
        "Turn the gradient before anything else happens to it, and leave the decay alone.",
    ),
    Code(
        "OC402",
        "grouping-dependence",
        ERROR,
        "parameters in another order, in a group each, or beside parameters of another dtype do not move as they do "
        "in one list of their own; OC108 besides where the decay is applied once for each part",
        "How a model's parameters are grouped is bookkeeping, and changes the result. Rules that couple all parameters "
        "by a global statistic (global-norm clipping, D-adaptation) are told apart, and only their order is judged.",
        "timm 1.0.27, SGDW with foreach: decays once for each dtype, .81 instead of .90 with float32 and float64 "
        "parameters together",
        "Keep counters and buffers for each parameter, and decay outside of loops over devices and dtypes.",
    ),
    Code(
        "OC403",
        "missing-gradient",
        WARNING,
        "what happens to a parameter whose gradient is None is not the framework's convention",
        "Frozen layers and unused branches have no gradient. In PyTorch and Keras such a parameter stays as it is; one "
        "that decays all the same, or moves on by its momentum, drifts while it seems to rest.",
        "theta.mul_(1 - lr*weight_decay) before `if p.grad is None: continue`",
        "Skip the parameter before anything is done to it or its state, and count the steps of each parameter.",
    ),
    Code(
        "OC404",
        "mutated-gradient",
        WARNING,
        "a step changes the gradient that the caller holds",
        "Whoever reads the gradient after the step (logging, clipping, accumulation, a second optimizer) reads "
        "another one; a gradient that is kept for the next step has the decay in it already.",
        "grad.add_(theta, alpha=weight_decay)",
        "Use the form that makes a new tensor: grad = grad.add(theta, alpha=weight_decay).",
    ),
    Code(
        "OC405",
        "restore-mismatch",
        ERROR,
        "saved mid-run and loaded into a new instance over the same parameters, the optimizer walks another path than "
        "the uninterrupted run",
        "Every restart of a training job changes its result: moments start from zero, a step count starts anew and "
        "bias correction makes the first steps long again.",
        "an optimizer that counts steps on self.t, which state_dict() does not save",
        "Keep all that a step reads where the framework saves it: PyTorch `state` and `param_groups`, Keras variables "
        "made with add_variable, the Optax state.",
    ),
    Code(
        "OC406",
        "accumulation-mismatch",
        ERROR,
        "n micro-steps of gradient accumulation differ from one step on the mean of their gradients",
        "Decay, clipping or the step count that run in every micro-step are n times too strong, or count n times too "
        "fast; with large batches made of small ones the decay grows with their number.",
        "keras 3.4.1, AdamW(gradient_accumulation_steps=2): decay, clipping and the step count in every micro-step",
        "Decay, clip and count only in the micro-step that updates. In Keras, 3.5.0 or later.",
    ),
    Code(
        "OC407",
        "sparse-decay",
        WARNING,
        "with a sparse gradient, rows of the matrix that have no entry do not decay as they do with a dense one",
        "How strongly a row of an embedding decays then depends on how often its word occurs: rare words hardly decay, "
        "and the same weight_decay means another thing for a dense gradient.",
        "theta[rows] -= lr * weight_decay * theta[rows] where the gradient has entries in `rows` alone",
        "Decay the whole parameter, or refuse a sparse gradient with weight decay as torch.optim.Adagrad does, or "
        "document that only rows with an entry decay.",
    ),
    Code(
        "OC408",
        "path-mismatch",
        ERROR,
        "two paths of execution (loop, foreach, fused, capturable, compiled ...) are further apart than rounding "
        "explains, or only one stays inside the bound of the rule that the other follows",
        "The path is chosen by speed, often without being asked for: another device or dtype, and another rule.",
        "torch 2.13.0, SGD(fused=True) on the CPU in bfloat16 or float16: parameters of 16 elements and more do not "
        "move at all",
        "Write both from one formula, and test them against each other with a changing learning rate and momentum.",
    ),
    Code(
        "OC409",
        "non-finite",
        ERROR,
        "NaN or infinity in the parameters on finite gradients, gradients of zeros included",
        "One such element spreads through the model.",
        "optax.contrib.prodigy, on a first step in which all gradients are zero: an estimate that divides 0 by 0",
        "Guard the division, by eps or by skipping the step; look at the parameter named.",
    ),
    Code(
        "OC410",
        "exclusion-ignored",
        ERROR,
        "a parameter excluded from decay in the framework's own way still decays, or excluding it takes the decay "
        "from others",
        "Biases and normalisation gains, excluded on purpose, are pulled to zero all the same.",
        "an optimizer that reads self.defaults['weight_decay'] instead of group['weight_decay']",
        "Read weight decay where the exclusion is written: PyTorch each parameter group, Keras "
        "_use_weight_decay(variable), Optax the mask.",
    ),
    Code(
        "OC411",
        "not-reproducible",
        WARNING,
        "the same parameters, hyperparameters and gradients, twice in one process, give different bits",
        "No run can be repeated, and no two ways of using the optimizer can be compared bit by bit.",
        "noise drawn from the global random generator; state kept on the class, which the next instance takes over",
        "Draw from a generator of the optimizer's own, with a seed among its options; keep state on the instance.",
    ),
    Code(
        "OC412",
        "lr-change-ignored",
        ERROR,
        "the learning rate is changed between two steps, and no bit of the steps to come changes",
        "Schedules, warm-up and restarts are without effect, and nothing says so.",
        "an optimizer that copies the constructor's lr to self.lr and steps with that",
        "Read the learning rate in the step: PyTorch group['lr'], Keras self.learning_rate, Optax the schedule's "
        "value.",
    ),
    Code(
        "OC413",
        "option-without-effect",
        WARNING,
        "an option is accepted and changes no bit of any parameter, or the constructor takes options that do not exist",
        "A run is configured with the option, works without it, and nothing says so; a misspelt weight_decay goes "
        "unnoticed likewise.",
        "def __init__(self, params, lr=1e-3, **kwargs), the kwargs never looked at: pytorch_optimizer 3.3.2 takes "
        "maximize and foreach so",
        "Implement the option or refuse it; take no **kwargs that nobody reads.",
    ),
    Code(
        "OC414",
        "wd-change-ignored",
        WARNING,
        "weight decay is changed between two steps where the framework allows it, and the steps to come are not those "
        "of an instance built with the new value",
        "A schedule of the decay, or one that is switched off for fine-tuning, is without effect.",
        "an optimizer that computes 1 - lr*weight_decay once, in its constructor",
        "Read weight decay in the step, where the framework lets it be changed.",
    ),
)

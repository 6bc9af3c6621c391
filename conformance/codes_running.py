"""Rows OC901 to OC907 of the rule table: what keeps an optimizer from being judged."""

from __future__ import annotations

from .code_row import ERROR, INFO, WARNING, Code

ROWS = (
    Code(
        "OC901",
        "cannot-build",
        ERROR,
        "the target cannot be constructed as asked, or its framework or device is not there",
        "Nothing was checked.",
        "optconform audit torch.optim:AdamW --set lr=-1",
        "The message holds the original error; correct the options, or install what is missing.",
    ),
    Code(
        "OC902",
        "step-failed",
        ERROR,
        "the optimizer raised while stepping; sys.exit() and memory that is not to be had count too",
        "Nothing can be concluded from a run that did not finish.",
        "a step that allocates more than --memory allows",
        "The message holds the original error; run the step by hand with the same shapes.",
    ),
    Code(
        "OC903",
        "timed-out",
        ERROR,
        "a target, its import included, is not done after --timeout seconds and is ended with all it has started",
        "Nothing was checked, and whatever trains with it may hang as well.",
        "a step that loops until a difference is exactly zero",
        "See with -v what it printed; where it only needs longer, give it longer: --timeout 3600.",
    ),
    Code(
        "OC904",
        "crashed",
        ERROR,
        "the process of a target died before there was a result: a signal, os._exit, or too many processes",
        "Nothing was checked; a training run would have ended in the same way, without an exception.",
        "a native extension that reads beyond its buffer",
        "The message names the signal or the exit status, -v shows what was printed. SIGKILL or SIGABRT without a word "
        "may be a lack of memory: give more with --memory.",
    ),
    Code(
        "OC905",
        "weak-trace",
        WARNING,
        "a trace cannot separate the hypotheses for some parameter, or samples a tensor whose coordinates are coupled",
        "A verdict from such a trace alone would be a guess, so none is given.",
        "a trace without steps, a parameter that is zero throughout, or 4,096 coordinates of a matrix under LAMB",
        "Add a trace in which the parameter named is not zero and has gradients: optconform trace make mixed. Where a "
        "sample is not enough, record the parameter whole.",
    ),
    Code(
        "OC906",
        "not-replayable",
        INFO,
        "a step needs a closure, a loss, a model or a Hessian; recorded gradients alone cannot drive it",
        "Nothing was checked, and nothing is wrong with the optimizer.",
        "optconform audit pytorch_optimizer:BSAM",
        "Audit the base optimizer that it wraps, if it wraps one; the message says what is missing.",
    ),
    Code(
        "OC907",
        "global-state-changed",
        WARNING,
        "the target changed process-wide state, by its import or by its steps: default dtype, seed, flags, handlers",
        "Other code of the same program behaves differently from then on, and nothing says so.",
        "torch.set_default_dtype(torch.float64) at the top of a module",
        "Pass dtypes and generators explicitly; restore what must be changed for a moment.",
    ),
)

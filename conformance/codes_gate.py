"""Rows OC501 to OC503 of the rule table: what a run of the gate reports besides what an audit does."""

from __future__ import annotations

from .code_row import ERROR, WARNING, Code

ROWS = (
    Code(
        "OC501",
        "device-mismatch",
        ERROR,
        "a step executed on the device lies outside the certified bound of the rule that is expected there",
        "The bound holds every order of evaluation, every contraction into fused multiply-adds and the square roots "
        "and divisions that the platform documents. What leaves it is another rule, or arithmetic that is wrong.",
        "a fused kernel that divides by an approximate reciprocal: one unit in the last place too much in every step",
        "The message names the first step and element outside. Run the same case with --device cpu: outside there too, "
        "it is the rule; inside, it is the kernel or the compiler's flags for the device.",
    ),
    Code(
        "OC502",
        "baseline-regression",
        WARNING,
        "a case lies inside the bound and is worse than the baseline allows: more than half of the room to the bound "
        "used up, farther from the CPU, undecided or decided otherwise, no longer reproducible, hardly apart from a "
        "rival, or other bits on the same hardware with the same versions and flags; an error with --strict",
        "Nothing is wrong yet, but something has changed that nobody meant to change: an order of evaluation, a "
        "kernel, a flag.",
        "a bound ratio of .95 where the baseline holds .60, and so allows .80",
        "Find the change, or accept it: --update-baseline shows what differs and writes it.",
    ),
    Code(
        "OC503",
        "coverage-shrank",
        ERROR,
        "a case of the baseline did not run (it is missing, renamed, disabled or skipped), a case ran that the "
        "baseline does not hold or whose definition is another one now, a case did not run on the path or the device "
        "that it names, or without a baseline more cases were skipped than --skips allows",
        "A gate that runs less than it did passes more easily, and its report looks the same.",
        "fused=True on a device without fused kernels, where the steps silently run unfused",
        "Bring the case back, or, where it was left out or added on purpose, commit a new baseline: --update-baseline.",
    ),
)

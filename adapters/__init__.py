"""Run the real optimizer: find it, build it, step it, read it back. Knows nothing of verdicts.

`targets.load_target` turns a name into a `Target`, `frameworks.load_adapter` returns the `Adapter`
for its framework, and `Adapter.build` an `Optimizer` that is stepped with recorded gradients. A
framework is imported only when one of these needs it; this module imports nothing at all.
"""

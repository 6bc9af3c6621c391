"""Judge a run that is over: what was recorded of it against the rules of the reference, with no optimizer at hand."""

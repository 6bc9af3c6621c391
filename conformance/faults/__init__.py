"""Planted faults: optimizers that are wrong on purpose, and sound ones that look unusual, for every framework.

`update_rules` writes the rules once, `departures` says what a fault changes in them, `families` which code must name
it, and `table.PLANTED` is every optimizer that has one. `sound.SOUND` are those on which no error may fire. `judge`
runs a row and says where the tool misjudged it, `self_test` runs and counts them all, and `page` is the
documentation's page of that. A framework is imported only inside its own modules (`torch_faults`, `keras_faults`,
...), only when one of its rows is run.
"""

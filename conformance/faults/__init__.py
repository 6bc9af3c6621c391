"""Planted faults: optimizers that are wrong on purpose, and sound ones that look unusual, for every framework.

`table.PLANTED` says which finding each fault must raise, `sound.SOUND` which optimizers must raise none, and
`judge` runs a row and says where the tool misjudged it. A framework is imported only inside its own modules
(`torch_faults`, `keras_faults`, ...), only when one of its rows is run.
"""

"""Metamorphic checks: two ways of using one optimizer that must agree, with no reference needed.

Each check is one file with one function and one row in `table.CHECKS`.
"""

"""`[tool.optconform]` of a project: what to check there, how, and which findings are accepted."""

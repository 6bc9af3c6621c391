"""Continuous integration on other machines: running a checkout where nothing can be installed."""

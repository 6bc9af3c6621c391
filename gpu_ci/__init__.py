"""Continuous integration on other machines. So far: running a checkout where nothing can be installed."""

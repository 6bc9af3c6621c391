"""Optimizers under test in pytest: one item per optimizer and check, and the plugin that counts them."""

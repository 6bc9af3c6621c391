"""What `optconform init` writes: a project for a new optimizer, or the tests of the optimizers of an existing one."""

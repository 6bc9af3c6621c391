"""Recording traces from training: what to keep, how it reaches the disk, and the recorders of each framework."""

"""Worker processes: each target runs apart, with a time limit, a memory limit and its output captured."""

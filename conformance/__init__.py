"""Decide: traces, paired runs, identification, matching, verdicts, reports and the command line."""

"""Audits in processes of their own: each with a limit on time and memory, its output captured, none left behind."""

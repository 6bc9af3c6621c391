"""The command line. Modules import click alone at the top; what a command needs is imported when it runs."""

"""What can be wrong with a project that is to be written."""


class ScaffoldError(ValueError):
    """A name, a folder or a file in it does not allow the project to be written; nothing was."""

"""The error of a document that cannot be shown."""


class DocumentError(ValueError):
    """A document is not one that a run writes; the message says where."""

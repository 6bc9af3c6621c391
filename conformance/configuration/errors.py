"""The error of a configuration that cannot be used."""


class ConfigurationError(ValueError):
    """A configuration is not as it should be; the message names file, key, value and what was expected."""

"""The errors that a user can mend; tools print them as one line."""


class ConfigError(ValueError):
    """A config, its data or its checkpoint does not fit; the message says what."""

"""Errors that a user can fix. Scripts print them as one line; any other error is a bug and shows its traceback."""


class PoseError(ValueError):
    """Invalid input, settings or files: the message says what is wrong and what would be right."""


class MissingPackageError(PoseError, ImportError):
    """A required package is missing or too old; the message says how to install it."""

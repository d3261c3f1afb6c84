"""Errors that a user can mend. Scripts print their one line; everything else is a bug and shows its traceback."""


class PoseError(ValueError):
    """Input, settings or files that cannot be: the message names what is wrong and what would be right."""


class MissingPackageError(PoseError, ImportError):
    """A package that is needed only here is not installed; the message says how to get it."""

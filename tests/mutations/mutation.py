"""One deliberate fault in the package."""
from typing import NamedTuple


class Mutation(NamedTuple):
    """A change of a file that breaks a rule, and the test that has to notice.

    Attributes:
        name: short, unique in the table.
        file: path from the repository root.
        text: what is replaced; it has to occur exactly once in the file.
        replacement: what comes in its place.
        test: what pytest is told to run, a single quick test.
        reason: the rule that the fault breaks.
    """

    name: str
    file: str
    text: str
    replacement: str
    test: str
    reason: str

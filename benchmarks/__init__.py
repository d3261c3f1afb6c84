"""One program per question, each printing one table."""
import src  # noqa: F401  prepares the environment before any benchmark imports MindSpore

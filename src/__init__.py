"""Top-down 2D human pose estimation with MindSpore."""
from src import device  # noqa: F401  prepares the environment before any other module imports MindSpore

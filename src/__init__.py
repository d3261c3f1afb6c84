"""Top-down 2D human pose estimation with MindSpore."""
from .system import device

# Before any other module imports MindSpore and fails at a name that its version lacks.
try:
    device.check_mindspore_version()
except ImportError as error:
    raise SystemExit(f'error: {error}') from None

"""Imported first by the scripts that need MindSpore. If it is missing or too old, the script ends here with a one-line
message instead of failing at a later import."""
import sys

from .device import check_mindspore_version
from .errors import MissingPackageError

try:
    check_mindspore_version()
except MissingPackageError as error:
    sys.exit(f'error: {error}')

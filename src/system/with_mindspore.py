"""Imported first by the scripts that need MindSpore: without it, or with one that is too old, they end here with one
line, before an import further down fails at a name that is not there."""
import sys

from .device import check_mindspore_version
from .errors import MissingPackageError

try:
    check_mindspore_version()
except MissingPackageError as error:
    sys.exit(f'error: {error}')

"""A launcher in a folder of its own."""
import os
import signal
from pathlib import Path

import pytest
from stand_in import Launcher, eventually


@pytest.fixture
def launcher(tmp_path):
    """A launcher; after the test nothing that it started may be left."""
    each = Launcher(tmp_path)
    yield each
    left = []
    try:
        eventually(lambda: not each.processes() and not os.listdir(each.state), seconds=5)
    except AssertionError:
        left = [(pid, Path(f'/proc/{pid}/cmdline').read_bytes()) for pid in each.processes()]
        for pid, _ in left:
            os.kill(pid, signal.SIGKILL)
        pytest.fail(f'left over: {left} {os.listdir(each.state)}')

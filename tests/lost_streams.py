"""Ways in which the output of a process is lost, as arguments of subprocess.Popen."""
import contextlib
import os
from typing import Iterator

import pytest

WAYS = ['stdout closed', 'stderr closed', 'all closed', 'reader gone', 'disk full']
LOST = pytest.mark.parametrize('way', [
    *WAYS[:-1], pytest.param(WAYS[-1], marks=pytest.mark.skipif(not os.path.exists('/dev/full'),
                                                                reason='needs /dev/full'))])


def _close(*numbers: int) -> None:
    for number in numbers:
        os.close(number)


@contextlib.contextmanager
def lost_streams(way: str) -> Iterator[dict]:
    """Yield the arguments that make a process lose what it prints; what it does not lose goes to the null device.

    'stdout closed' is `>&-`, 'stderr closed' `2>&-`, 'all closed' both and stdin; 'reader gone' is a pipe as after
    `| head`, 'disk full' /dev/full, for stdout and stderr.
    """
    closed = {'stdout closed': (1,), 'stderr closed': (2,), 'all closed': (0, 1, 2)}
    with contextlib.ExitStack() as stack:
        if way in closed:
            null = stack.enter_context(open(os.devnull, 'r+b'))
            yield {'stdin': null, 'stdout': null, 'stderr': null, 'preexec_fn': lambda: _close(*closed[way])}
        elif way == 'reader gone':
            reader, writer = os.pipe()
            os.close(reader)
            stack.callback(os.close, writer)
            yield {'stdout': writer, 'stderr': writer}
        else:
            full = stack.enter_context(open('/dev/full', 'wb'))
            yield {'stdout': full, 'stderr': full}

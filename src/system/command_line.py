"""Shared by the scripts: errors without tracebacks, and printing that never stops the work."""
import contextlib
import io
import os
import sys
import traceback
from typing import Callable

from tqdm import tqdm

from .device import LAUNCHER_VARIABLES
from .errors import PoseError
from .printing import printable


def run_command(main: Callable[[], None]) -> None:
    """Run a script's main function. An error that the user can fix (PoseError, OSError, MemoryError) ends it with one
    line and exit status 2; any other error is a bug, which shows its traceback and ends it with status 1.

    With POSE_TRACEBACK=1 in the environment, all errors show their traceback.
    """
    bear_lost_output()
    for stream in (sys.stdout, sys.stderr):
        # Help texts and progress bars are printed by libraries, and may have characters that the encoding lacks.
        if hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')
    try:
        main()
    except KeyboardInterrupt:
        sys.exit('interrupted')
    except (PoseError, OSError, MemoryError) as error:
        if os.environ.get('POSE_TRACEBACK'):
            with contextlib.suppress(OSError):
                print_traceback()
        # If the cause is an error inside a library, the traceback may say more than the message.
        is_explained = error.__cause__ is None or isinstance(error.__cause__, (PoseError, OSError, ImportError))
        hint = '' if is_explained else ' (POSE_TRACEBACK=1 shows where)'
        text = ' '.join(str(error).split()) or ('out of memory' if isinstance(error, MemoryError) else repr(error))
        with contextlib.suppress(OSError):
            print('error: ' + printable(text, sys.stderr) + hint, file=sys.stderr, flush=True)
        leave_job(2)
        sys.exit(2)
    except Exception:
        with contextlib.suppress(OSError):
            print_traceback()
            print('error: this is a bug, here or in a library below; please report it with the lines above and the '
                  'command', file=sys.stderr, flush=True)
        leave_job(1)
        sys.exit(1)


def print_traceback() -> None:
    """Print the traceback of the current exception, as `printable` shows it: the message may hold untrusted text."""
    print(*(printable(line, sys.stderr) for line in traceback.format_exc().rstrip().split('\n')), sep='\n',
          file=sys.stderr)


class _LossyFile(io.FileIO):
    """An open file that drops the bytes that cannot be written, without an error."""

    def write(self, data) -> int:
        written = None
        with contextlib.suppress(OSError):
            written = super().write(data)
        return len(data) if written is None else written


def bear_lost_output() -> None:
    """Keep this process running if its output cannot be written, because a pipe or a terminal was closed or the disk is
    full: the output is lost, but the work goes on.

    Streams that were replaced, as in a test or a notebook, are not changed.
    """
    for name in ('stdout', 'stderr'):
        stream = getattr(sys, name)
        if stream is None or stream is not getattr(sys, f'__{name}__'):
            continue
        with contextlib.suppress(OSError):
            stream.flush()
        lossy = io.BufferedWriter(_LossyFile(stream.fileno(), 'w', closefd=False))
        setattr(sys, name, io.TextIOWrapper(lossy, stream.encoding, stream.errors, line_buffering=True))


def leave_job(status: int) -> None:
    """End this process at once if it is one of several: on a normal exit they would wait for each other."""
    if any(os.environ.get(name) for name in LAUNCHER_VARIABLES):
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(status)


def say(*lines: str) -> None:
    """Print lines at once, above a progress bar if there is one, each as `printable` shows it.

    If the disk is full or the reader of the pipe has ended, the line is lost, but the run goes on.
    """
    try:
        for line in lines:
            tqdm.write(printable(line, sys.stdout), file=sys.stdout)
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stdout = open(os.devnull, 'w', encoding='utf-8')  # noqa: SIM115  until the process ends
    except OSError:
        pass

"""What the scripts share: output that may be lost, and errors without tracebacks."""
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
    """Run a script's main function. What the user can mend (PoseError, and what the system refuses) ends it with one
    line and exit status 2; anything else is a bug, which shows its traceback and ends with 1.

    POSE_TRACEBACK=1 in the environment shows the traceback of the former as well.
    """
    bear_lost_output()
    for stream in (sys.stdout, sys.stderr):
        # Help texts and bars are others' to print; they too should not end at a letter that the encoding lacks.
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
        # What others stumbled over: its place may say more than its text.
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
    """Print where the exception that is being handled came from: like all else, its message may be from outside."""
    print(*(printable(line, sys.stderr) for line in traceback.format_exc().rstrip().split('\n')), sep='\n',
          file=sys.stderr)


class _LossyFile(io.FileIO):
    """An open file of which those bytes are lost that the system does not take."""

    def write(self, data) -> int:
        written = None
        with contextlib.suppress(OSError):
            written = super().write(data)
        return len(data) if written is None else written


def bear_lost_output() -> None:
    """Let this process print to a pipe whose reader has gone, a terminal that was closed or a full disk: what is
    printed there is lost, and the work goes on to its own exit status.

    Streams that somebody has put in the place of those of the process, as a test or a notebook does, stay.
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
    """End this process at once if it is one of several: an ordinary exit would wait for the others, and they for it."""
    if any(os.environ.get(name) for name in LAUNCHER_VARIABLES):
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(status)


def say(*lines: str) -> None:
    """Print lines at once, above a progress bar where there is one, each as `printable` shows it.

    A log on a full disk, or a pipe whose reader has gone, costs the line, not the run.
    """
    try:
        for line in lines:
            tqdm.write(printable(line, sys.stdout), file=sys.stdout)
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stdout = open(os.devnull, 'w', encoding='utf-8')  # noqa: SIM115  until the process ends
    except OSError:
        pass

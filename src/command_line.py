"""What the scripts share: output that may be lost, errors without tracebacks, and the configuration of a checkpoint."""
import contextlib
import io
import os
import sys
import traceback
from typing import Callable, Dict, Optional, Tuple

from easydict import EasyDict
from tqdm import tqdm

from src.config import DEFAULT_RECIPE, load_recipe, num_hypotheses, resolve
from src.device import LAUNCHER_VARIABLES
from src.printing import printable


def run_command(main: Callable[[], None]) -> None:
    """Run a script's main function; an error that the user can mend ends it with one line and exit status 2.

    POSE_TRACEBACK=1 in the environment shows where it came from.
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
    except (ValueError, OSError, ImportError, ArithmeticError, RuntimeError) as error:
        if os.environ.get('POSE_TRACEBACK'):
            with contextlib.suppress(OSError):
                print_traceback()
        # A RuntimeError is MindSpore's: its place may say more than its text.
        hint = ' (POSE_TRACEBACK=1 shows where)' if isinstance(error, RuntimeError) else ''
        with contextlib.suppress(OSError):
            print('error: ' + printable(' '.join(str(error).split()), sys.stderr) + hint, file=sys.stderr, flush=True)
        leave_job(2)
        sys.exit(2)
    except Exception:
        with contextlib.suppress(OSError):
            print_traceback()
            sys.stderr.flush()
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


def resolve_test_config(recipe_name: Optional[str], carried: Optional[EasyDict], ckpt_path: str,
                        read_overrides: Callable[[EasyDict], Dict[str, str]]) -> Tuple[EasyDict, Dict[str, str]]:
    """Return the configuration for a checkpoint, and the overrides in it.

    Args:
        recipe_name: as given, or None.
        carried: the configuration inside the checkpoint, or None.
        read_overrides: recipe -> {config key: text}.
    """
    if recipe_name is not None:
        recipe = load_recipe(recipe_name)
        say(f'recipe: {recipe_name}')
        warn_of_other_flavour(recipe, carried, ckpt_path)
    elif carried is not None:
        recipe = carried
        say(f'recipe: the one inside {ckpt_path}')
    else:
        recipe = load_recipe(DEFAULT_RECIPE)
        say(f'recipe: {DEFAULT_RECIPE}, since {ckpt_path} carries none (choose another with --recipe)')
    overrides = read_overrides(recipe)
    return resolve(recipe, overrides), overrides


def warn_of_other_flavour(config: EasyDict, carried: Optional[EasyDict], ckpt_path: str) -> None:
    """Say in which settings that change the meaning of weights, but not their names, a checkpoint differs."""
    if carried is None:
        return
    for key in ('MODEL.STEM_POOL', 'DATASET.COLOR_RGB', 'DATASET.NORMALISE_BEFORE_SCALING', 'DATASET.MEANS',
                'DATASET.STDS'):
        section, name = key.split('.')
        if config[section][name] != carried[section][name]:
            say(f'warning: {ckpt_path} was made with {key}={carried[section][name]}, not {config[section][name]}')
    own, its = num_hypotheses(config), num_hypotheses(carried)
    if config.MODEL.NAME == carried.MODEL.NAME == 'mipnet' and own != its:
        say(f'warning: {ckpt_path} was made for {its} people in a box, not {own}; the codes of two mean others '
            'than those of three and four')

"""The only place that sets the environment, the device, the execution mode and the log level.

Importing this module (``import src`` does it) prepares the streams and the environment of the process before MindSpore
starts; ``set_up_device`` then chooses the device. Nothing here imports MindSpore at import time.
"""
import contextlib
import importlib.abc
import importlib.util
import io
import os
import platform
import re
import sys
from dataclasses import dataclass
from importlib import metadata
from typing import Iterator, Set, Tuple

from .errors import MissingPackageError, PoseError

OLDEST_MINDSPORE, NEWEST_MINDSPORE = (2, 7), (2, 10)
TARGETS = ('Ascend', 'GPU', 'CPU')
# Where launchers tell the number of processes, and which launcher each belongs to. Our own sets the same as msrun where
# there is no rank table.
LAUNCHER_VARIABLES = {'MS_WORKER_NUM': 'msrun', 'OMPI_COMM_WORLD_SIZE': 'mpirun', 'RANK_SIZE': 'rank table'}
# Where a launch script tells the folder of the job, CKPT_DIR, and the file there that gets the whole configuration.
JOB_FOLDER_VARIABLE, CONFIG_NAME = 'POSE_JOB_FOLDER', 'config.yaml'
LIMIT_IS_OURS = 'POSE_SET_ONEDNN_MAX_CPU_ISA'
# OpenCV's own name of its bound, which is 2 ** 30 unless set: 6 GB for a JPEG of a few bytes that says so.
MAX_PIXELS_VARIABLE, MAX_PIXELS = 'OPENCV_IO_MAX_IMAGE_PIXELS', 250_000_000


def installed_mindspore_version() -> str:
    """Return the version of the installed MindSpore without importing it, '' where there is none."""
    return _installed_version('mindspore')


def _installed_version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ''


def _major_minor(version: str) -> tuple:
    return tuple(int(re.match(r'\d+', part)[0]) for part in version.split('.')[:2])


def open_missing_streams() -> None:
    """Open the null device in the place of a closed stdin, stdout or stderr, as `>&-` and some job schedulers leave it.

    The next file to be opened, be it a checkpoint, would get the number of the missing one, and whatever a library
    prints to that number would land in the file. ``sys.stdout`` would be None.
    """
    for number, (name, mode) in enumerate((('stdin', 'r'), ('stdout', 'w'), ('stderr', 'w'))):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one. Processes that we start should find it as well.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding='utf-8'))  # noqa: SIM115  until the process ends


def prepare_environment() -> None:
    """Set the defaults of the process environment that MindSpore and OpenCV read when they start; a user's own value
    stays.

    From MindSpore 2.8 on (oneDNN 3.10) a 3x3 convolution falls to oneDNN's reference kernel on CPUs with AVX-512 and
    runs over 100 times slower than with the instruction set capped at AVX2. Older versions are not affected.
    """
    # 3 = errors only: the framework's own deprecation warnings say nothing to a user of this package.
    os.environ.setdefault('GLOG_v', '3')
    os.environ.setdefault(MAX_PIXELS_VARIABLE, str(MAX_PIXELS))
    # What cannot be read is told by this package, once and by name.
    os.environ.setdefault('OPENCV_LOG_LEVEL', 'SILENT')
    os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')
    version = installed_mindspore_version()
    is_affected = version and _major_minor(version) >= (2, 8) and platform.machine() in ('x86_64', 'AMD64')
    if is_affected and 'ONEDNN_MAX_CPU_ISA' not in os.environ:
        os.environ['ONEDNN_MAX_CPU_ISA'] = 'AVX2'
        # So that child processes know that it is not the user's.
        os.environ[LIMIT_IS_OURS] = '1'
    _survive_numpy_2(version)


def _survive_numpy_2(mindspore_version: str) -> None:
    """See to it that no operator fails because MindSpore was compiled with NumPy 1.

    The first operator of a process outside a compiled graph makes MindSpore (2.10; older ones need NumPy 1) look for
    NumPy's C interface. NumPy 2 denies it, MindSpore can do without, but forgets to clear the error: the operator has
    computed and fails. It looks only once, so it is made to look as soon as it is imported.
    """
    numpy_version = _installed_version('numpy')
    if not mindspore_version or not numpy_version or _major_minor(mindspore_version) < (2, 10) or (
            _major_minor(numpy_version) < (2, 0)):
        return
    if 'mindspore' in sys.modules:
        _look_for_numpy()
    elif not any(isinstance(finder, _FinderOfMindSpore) for finder in sys.meta_path):
        sys.meta_path.insert(0, _FinderOfMindSpore())


class _FinderOfMindSpore(importlib.abc.MetaPathFinder):
    """Finds MindSpore where the others find it, and has it look for NumPy when its import is over."""

    def find_spec(self, fullname, path, target=None):
        if fullname != 'mindspore':
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_look(module) -> None:
                execute(module)
                _look_for_numpy()

            spec.loader.exec_module = execute_and_look
        return spec


def _look_for_numpy() -> None:
    import mindspore as ms
    # A shape that is none: refused after the search, before anything of the device starts. Silently, because NumPy
    # would print a page of advice on what has just been mended.
    with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(TypeError, SystemError, ImportError):
        ms.Tensor(0.0).reshape('')


@contextlib.contextmanager
def instruction_sets_unlimited() -> Iterator[None]:
    """Within the block oneDNN finds no limit of ours: OpenVINO has a oneDNN of its own, which needs none.

    Each copy of the library reads the limit once, when it first computes.
    """
    limit = os.environ.pop('ONEDNN_MAX_CPU_ISA') if os.environ.get(LIMIT_IS_OURS) else None
    try:
        yield
    finally:
        if limit is not None:
            os.environ['ONEDNN_MAX_CPU_ISA'] = limit


_told: Set[str] = set()


def check_mindspore_version() -> None:
    """Prove that MindSpore is there and not older than the oldest that was tested; of a newer one say so, once.

    Raises:
        MissingPackageError: naming what is installed and what would be right.
    """
    version = installed_mindspore_version()
    tested = '.'.join(map(str, OLDEST_MINDSPORE)) + ' to ' + '.'.join(map(str, NEWEST_MINDSPORE))
    if not version:
        raise MissingPackageError(f'MindSpore is not installed; this package runs on {tested}: '
                                  'pip install -r requirements.txt')
    if _major_minor(version) < OLDEST_MINDSPORE:
        raise MissingPackageError(f'MindSpore {version} is installed, but this package runs on {tested}: '
                                  'pip install -r requirements.txt')
    if _major_minor(version) > NEWEST_MINDSPORE and version not in _told:
        _told.add(version)
        print(f'warning: MindSpore {version} is newer than the versions that were tested, {tested}', file=sys.stderr,
              flush=True)


def available_targets() -> list:
    """Return those of Ascend, GPU and CPU that this machine's MindSpore can use, best first."""
    import mindspore as ms
    probes = {'Ascend': ms.device_context.ascend, 'GPU': ms.device_context.gpu, 'CPU': ms.device_context.cpu}
    return [target for target in TARGETS if probes[target].is_available()]


def set_up_device(target: str = 'auto', device_id: int = 0, *, graph_mode: bool = True, all_cores: bool = True) -> str:
    """Choose the device and the execution mode of this process, and return the target that was chosen.

    Args:
        target: 'Ascend', 'GPU', 'CPU' or 'auto' (the first of these that the machine has).
        device_id: index of the device among its kind.
        graph_mode: compile whole graphs (fast) instead of running operator by operator (easy to debug).
        all_cores: on a CPU, let the operators use every core of this process.

    Raises:
        PoseError: the target is unknown or not available here.
        MissingPackageError: MindSpore is missing or too old.
    """
    check_mindspore_version()
    import mindspore as ms
    known = {'auto': 'auto', **{name.lower(): name for name in TARGETS}}
    if str(target).lower() not in known:
        raise PoseError(f'device_target {target!r} is unknown; use auto, {", ".join(TARGETS)}')
    target = known[str(target).lower()]
    available = available_targets()
    if target == 'auto':
        target = available[0]
    elif target not in available:
        raise PoseError(f'device_target {target} is not available on this machine (MindSpore {ms.__version__} finds: '
                        f'{", ".join(available)}); choose one of those or auto')
    ms.set_device(target, 0 if target == 'CPU' else device_id)
    ms.set_context(mode=ms.GRAPH_MODE if graph_mode else ms.PYNATIVE_MODE)
    if target == 'CPU' and all_cores:
        _set_cpu_threads(usable_cores())
    return target


@dataclass(frozen=True)
class Processes:
    """The processes of a job and this one's place among them.

    Attributes:
        target: 'Ascend', 'GPU' or 'CPU'.
        rank: of this process, from 0; rank 0 writes the files.
        size: number of processes, one per device.
    """

    target: str
    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def __str__(self) -> str:
        return self.target if self.size == 1 else f'{self.target} (process {self.rank} of {self.size})'


def launched_by() -> str:
    """Return what started this process as one of several: 'msrun', 'rank table', 'mpirun', or '' for none of them.

    Raises:
        PoseError: the environment names a number of processes that is no number.
    """
    return _launcher_and_size()[0]


def _launcher_and_size() -> Tuple[str, int]:
    """As `launched_by`, with the number of processes: 1 where nothing started several."""
    for name, launcher in LAUNCHER_VARIABLES.items():
        value = os.environ.get(name, '')
        # A lone RANK_SIZE is left over in many containers; without a table it means nothing.
        if not value or (name == 'RANK_SIZE' and not os.environ.get('RANK_TABLE_FILE')):
            continue
        if not value.isdecimal() or int(value) < 1:
            raise PoseError(f'the environment variable {name} should be the number of processes, is {value!r}')
        # The scheduler waits for its worker, and a rank table names a device, be it a single one.
        if int(value) > 1 or launcher == 'rank table' or (launcher == 'msrun' and os.environ.get('MS_ROLE')):
            return launcher, int(value)
    return '', 1


def join_processes(target: str = 'auto', device_id: int = 0) -> Processes:
    """Set up the device of this process and, where a launcher started several, join them.

    With several processes the launcher decides the device of each, not `device_id`.

    Raises:
        PoseError: as `set_up_device`, or the environment contradicts itself.
        RuntimeError: the processes do not find each other.
    """
    launcher, size = _launcher_and_size()
    if not launcher:
        return Processes(set_up_device(target, device_id))
    name = 'OMPI_COMM_WORLD_LOCAL_RANK' if launcher == 'mpirun' else 'DEVICE_ID'
    local = os.environ.get(name, '0')
    if not local.isdecimal():
        raise PoseError(f'the environment variable {name} should be a number, is {local!r}')
    target = set_up_device(target, int(local), all_cores=False)
    if launcher == 'rank table' and target != 'Ascend':
        raise PoseError(f'RANK_TABLE_FILE is set, but a rank table starts Ascend devices only and this is {target}; '
                        'give "none" instead of the table')
    if launcher == 'rank table' and size == 1:
        return Processes(target)
    from mindspore import communication
    # The scheduler stays inside this call until the job is over.
    communication.init()
    if os.environ.get('MS_ROLE') == 'MS_SCHED':
        sys.exit(0)
    processes = Processes(target, communication.get_rank(), communication.get_group_size())
    if target == 'CPU':
        # A job of one process tells 0.
        _set_cpu_threads(max(1, usable_cores() // max(1, communication.get_local_rank_size())))
    return processes


def _set_cpu_threads(number: int) -> None:
    """Give the operators so many threads.

    MindSpore's own choice leaves cores idle: on two cores small networks train 1.3 to 1.6 times faster like this. It
    can be set once in a process; a value that is there already stays.
    """
    import mindspore as ms
    with contextlib.suppress(RuntimeError):
        ms.device_context.cpu.op_tuning.threads_num(number)


def share_of_cores() -> int:
    """Return the cores of this process's share where a launcher started several, 0 where it is alone."""
    launcher, size = _launcher_and_size()
    return max(1, usable_cores() // size) if launcher else 0


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


open_missing_streams()
prepare_environment()

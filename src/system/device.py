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
# {environment variable with the number of processes: its launcher}. Our own launcher sets the same variable as msrun if
# there is no rank table.
LAUNCHER_VARIABLES = {'MS_WORKER_NUM': 'msrun', 'OMPI_COMM_WORLD_SIZE': 'mpirun', 'RANK_SIZE': 'rank table'}
# Environment variable in which a launch script passes the folder of the job (CKPT_DIR), and the name of the file there
# for the whole configuration.
JOB_FOLDER_VARIABLE, CONFIG_NAME = 'POSE_JOB_FOLDER', 'config.yaml'
LIMIT_IS_OURS = 'POSE_SET_ONEDNN_MAX_CPU_ISA'
# OpenCV's variable for the largest picture. Its default, 2 ** 30 pixels, lets a tiny file that claims such a size take
# 6 GB.
MAX_PIXELS_VARIABLE, MAX_PIXELS = 'OPENCV_IO_MAX_IMAGE_PIXELS', 250_000_000


def installed_mindspore_version() -> str:
    """Return the version of the installed MindSpore without importing it, '' if it is not installed."""
    return _installed_version('mindspore')


def _installed_version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ''


def _major_minor(version: str) -> tuple:
    return tuple(int(re.match(r'\d+', part)[0]) for part in version.split('.')[:2])


def is_mindspore_at_least(major: int, minor: int) -> bool:
    """Return whether this version of MindSpore or a later one is installed, without importing it."""
    version = installed_mindspore_version()
    return bool(version) and _major_minor(version) >= (major, minor)


def open_missing_streams() -> None:
    """Open the null device for a closed stdin, stdout or stderr, which `>&-` and some job schedulers leave behind.

    Otherwise the next opened file, perhaps a checkpoint, would get the file descriptor of the closed stream, and what a
    library prints would land in that file. ``sys.stdout`` would be None.
    """
    for number, (name, mode) in enumerate((('stdin', 'r'), ('stdout', 'w'), ('stderr', 'w'))):
        try:
            os.fstat(number)
        except OSError:
            # os.open returns the lowest free number, which is this one. Child processes inherit it.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding='utf-8'))  # noqa: SIM115  until the process ends


def prepare_environment() -> None:
    """Set default environment variables that MindSpore and OpenCV read when they start; values of the user are kept.

    From MindSpore 2.8 on (oneDNN 3.10), a 3x3 convolution uses oneDNN's reference kernel on CPUs with AVX-512 and is
    over 100 times slower than with the instruction set limited to AVX2. Older versions are not affected.
    """
    # 3 = errors only: MindSpore's deprecation warnings are of no use to a user of this package.
    os.environ.setdefault('GLOG_v', '3')
    os.environ.setdefault(MAX_PIXELS_VARIABLE, str(MAX_PIXELS))
    # This package itself reports pictures that cannot be read, by name.
    os.environ.setdefault('OPENCV_LOG_LEVEL', 'SILENT')
    os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')
    version = installed_mindspore_version()
    is_affected = is_mindspore_at_least(2, 8) and platform.machine() in ('x86_64', 'AMD64')
    if is_affected and 'ONEDNN_MAX_CPU_ISA' not in os.environ:
        os.environ['ONEDNN_MAX_CPU_ISA'] = 'AVX2'
        # Tells child processes that the limit was not set by the user.
        os.environ[LIMIT_IS_OURS] = '1'
    _survive_numpy_2(version)


def _survive_numpy_2(mindspore_version: str) -> None:
    """Prevent a failure of the first operator with NumPy 2, because MindSpore was compiled with NumPy 1.

    The first operator outside a compiled graph makes MindSpore (2.10; older versions need NumPy 1) look for NumPy's C
    interface. NumPy 2 refuses it. MindSpore works without it, but does not clear the error, so the operator fails after
    it has computed. MindSpore looks only once, so this makes it look right after its import.
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
    """Finds MindSpore as the other finders do, and makes it look for NumPy right after its import."""

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
    # An invalid shape, which is refused after the search but before the device starts. Without stderr, because NumPy
    # would print a page of advice on a problem that this call solves.
    with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(TypeError, SystemError, ImportError):
        ms.Tensor(0.0).reshape('')


@contextlib.contextmanager
def instruction_sets_unlimited() -> Iterator[None]:
    """Within the block our limit on instruction sets is removed: OpenVINO has its own oneDNN, which does not need it.

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
    """Check that MindSpore is installed and not older than the oldest tested version; warn once if it is newer.

    Raises:
        MissingPackageError: the message names the installed version and the tested ones.
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


@contextlib.contextmanager
def operator_by_operator() -> Iterator[None]:
    """Within the block nothing is compiled: each operator of a cell runs at once, in every thread."""
    import mindspore as ms
    mode = ms.get_context('mode')
    ms.set_context(mode=ms.PYNATIVE_MODE)
    try:
        yield
    finally:
        ms.set_context(mode=mode)


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
        PoseError: the environment gives an invalid number of processes.
    """
    return _launcher_and_size()[0]


def _launcher_and_size() -> Tuple[str, int]:
    """Return the launcher as in `launched_by`, and the number of processes, which is 1 without a launcher."""
    for name, launcher in LAUNCHER_VARIABLES.items():
        value = os.environ.get(name, '')
        # Many containers set RANK_SIZE; without a rank table it means nothing.
        if not value or (name == 'RANK_SIZE' and not os.environ.get('RANK_TABLE_FILE')):
            continue
        if not value.isdecimal() or int(value) < 1:
            raise PoseError(f'the environment variable {name} should be the number of processes, is {value!r}')
        # Also with one process: the scheduler of a cluster waits for its worker, and a rank table names the device.
        if int(value) > 1 or launcher == 'rank table' or (launcher == 'msrun' and os.environ.get('MS_ROLE')):
            return launcher, int(value)
    return '', 1


def join_processes(target: str = 'auto', device_id: int = 0) -> Processes:
    """Set up the device of this process and, if a launcher started several processes, connect to them.

    With several processes the launcher decides the device of each, not `device_id`.

    Raises:
        PoseError: as in `set_up_device`, or the environment contradicts itself.
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
        # In a job of one process the local size is 0.
        _set_cpu_threads(max(1, usable_cores() // max(1, communication.get_local_rank_size())))
    return processes


def _set_cpu_threads(number: int) -> None:
    """Set the number of threads of the CPU operators.

    MindSpore's default leaves cores idle: with this, small networks train 1.3 to 1.6 times faster on two cores. It can
    be set only once in a process; later calls have no effect.
    """
    import mindspore as ms
    with contextlib.suppress(RuntimeError):
        ms.device_context.cpu.op_tuning.threads_num(number)


def share_of_cores() -> int:
    """Return this process's share of the cores if a launcher started several processes, else 0."""
    launcher, size = _launcher_and_size()
    return max(1, usable_cores() // size) if launcher else 0


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def is_fast_in_bfloat16(processor_file: str = '/proc/cpuinfo') -> bool:
    """Return whether the processor is known to compute faster in bfloat16 than in float32: Intel's with AMX, AMD's from
    Zen 4 on. Intel's with AVX512_BF16 alone take longer in it (docs/benchmarks.md)."""
    try:
        with open(processor_file, encoding='utf-8', errors='replace') as file:
            words = set(file.read().split())
    except OSError:
        return False
    return 'amx_bf16' in words or {'avx512_bf16', 'AuthenticAMD'} <= words


open_missing_streams()
prepare_environment()

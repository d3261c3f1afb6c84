"""The only place that sets the environment, the device, the execution mode and the log level.

Importing this module (``import src`` does it) prepares the process environment before MindSpore starts;
``set_up_device`` then chooses the device. Nothing here imports MindSpore at import time.
"""
import contextlib
import os
import platform
import re
from importlib import metadata

OLDEST_MINDSPORE, NEWEST_MINDSPORE = (2, 7), (2, 10)
TARGETS = ('Ascend', 'GPU', 'CPU')


def installed_mindspore_version() -> str:
    """Return the version of the installed MindSpore without importing it, '' where there is none."""
    try:
        return metadata.version('mindspore')
    except metadata.PackageNotFoundError:
        return ''


def _major_minor(version: str) -> tuple:
    return tuple(int(re.match(r'\d+', part)[0]) for part in version.split('.')[:2])


def prepare_environment() -> None:
    """Set the defaults of the process environment that MindSpore reads when it starts; a user's own value stays.

    From MindSpore 2.8 on (oneDNN 3.10) a 3x3 convolution falls to oneDNN's reference kernel on CPUs with AVX-512 and
    runs over 100 times slower than with the instruction set capped at AVX2. Older versions are not affected.
    """
    # 3 = errors only: the framework's own deprecation warnings say nothing to a user of this package.
    os.environ.setdefault('GLOG_v', '3')
    version = installed_mindspore_version()
    if version and _major_minor(version) >= (2, 8) and platform.machine() in ('x86_64', 'AMD64'):
        os.environ.setdefault('ONEDNN_MAX_CPU_ISA', 'AVX2')


def check_mindspore_version() -> None:
    """Raise ImportError, naming what is installed and what would be right, outside MindSpore 2.7 to 2.10."""
    version = installed_mindspore_version()
    supported = '.'.join(map(str, OLDEST_MINDSPORE)) + ' to ' + '.'.join(map(str, NEWEST_MINDSPORE))
    if not version:
        raise ImportError(f'MindSpore is not installed; this package runs on {supported}: '
                          'pip install -r requirements.txt')
    if not OLDEST_MINDSPORE <= _major_minor(version) <= NEWEST_MINDSPORE:
        raise ImportError(f'MindSpore {version} is installed, but this package runs on {supported}: '
                          'pip install -r requirements.txt')


def available_targets() -> list:
    """Return those of Ascend, GPU and CPU that this machine's MindSpore can use, best first."""
    import mindspore as ms
    probes = {'Ascend': ms.device_context.ascend, 'GPU': ms.device_context.gpu, 'CPU': ms.device_context.cpu}
    return [target for target in TARGETS if probes[target].is_available()]


def set_up_device(target: str = 'auto', device_id: int = 0, *, graph_mode: bool = True) -> str:
    """Choose the device and the execution mode of this process, and return the target that was chosen.

    Args:
        target: 'Ascend', 'GPU', 'CPU' or 'auto' (the first of these that the machine has).
        device_id: index of the device among its kind.
        graph_mode: compile whole graphs (fast) instead of running operator by operator (easy to debug).

    Raises:
        ValueError: the target is unknown or not available here.
        ImportError: the MindSpore version is outside the supported range.
    """
    check_mindspore_version()
    import mindspore as ms
    known = {'auto': 'auto', **{name.lower(): name for name in TARGETS}}
    if str(target).lower() not in known:
        raise ValueError(f'device_target {target!r} is unknown; use auto, {", ".join(TARGETS)}')
    target = known[str(target).lower()]
    available = available_targets()
    if target == 'auto':
        target = available[0]
    elif target not in available:
        raise ValueError(f'device_target {target} is not available on this machine (MindSpore {ms.__version__} finds: '
                         f'{", ".join(available)}); choose one of those or auto')
    ms.set_device(target, 0 if target == 'CPU' else device_id)
    ms.set_context(mode=ms.GRAPH_MODE if graph_mode else ms.PYNATIVE_MODE)
    if target == 'CPU':
        # MindSpore's own choice leaves cores idle: on two cores small networks train 1.3 to 1.6 times faster like this.
        # It can be set once in a process; a value that is there already stays.
        with contextlib.suppress(RuntimeError):
            ms.device_context.cpu.op_tuning.threads_num(usable_cores())
    return target


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


prepare_environment()

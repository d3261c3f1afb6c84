"""Environment variables: those with which a user configures a launch, and those that a job must not inherit."""
import os
import shutil
import socket
import sys
from typing import Dict, List, NamedTuple

from ..system.device import JOB_FOLDER_VARIABLE, TARGETS
from ..system.errors import PoseError
from .processes import MARK_VARIABLE
from .words import whole_number

# Name -> meaning, as --help shows it.
VARIABLES = {
    'DEVICE_TARGET': 'Ascend, GPU or CPU; else the first that MindSpore finds',
    'PYTHON': 'the interpreter; else python or python3',
    'STOP_SECONDS': 'how long a stopped job may take to save; 120',
    'SERVER_ID': 'with a rank table of several servers: which one this is, by position or by server_id',
    'MASTER_PORT': 'where the processes of a job without a rank table find each other; else a free port',
}
# Variables of other launchers: of rank tables (from RANK_TABLE_FILE on), of the dynamic cluster (MS_…) and of mpirun
# (OMPI_…, PMIX_…); the last two are set by our own launcher.
INHERITED = (
    'RANK_TABLE_FILE', 'MINDSPORE_HCCL_CONFIG_PATH', 'HELP_CLUSTER', 'RANK_ID', 'RANK_SIZE', 'DEVICE_ID',
    'ASCEND_DEVICE_ID', 'LOCAL_RANK', 'LOCAL_RANK_SIZE', 'MS_ROLE', 'MS_WORKER_NUM', 'MS_SERVER_NUM', 'MS_SCHED_HOST',
    'MS_SCHED_PORT', 'MS_NODE_ID', 'MS_NODE_RANK', 'MS_TOPO_TIMEOUT', 'OMPI_COMMAND', 'PMIX_RANK',
    'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_LOCAL_RANK', 'OMPI_COMM_WORLD_LOCAL_SIZE',
    MARK_VARIABLE, JOB_FOLDER_VARIABLE)


class Settings(NamedTuple):
    """The settings of a launch, from the environment.

    Attributes:
        target: Ascend, GPU or CPU; '' leaves the choice to train.py and eval.py.
        python: the interpreter of the job.
        stop_seconds: how long a stopped job may take to save.
        server_id: which server of a rank table this is, '' if not set.
        master_port: port of the scheduler; '' for any free one.
    """

    target: str
    python: str
    stop_seconds: int
    server_id: str
    master_port: str

    @property
    def target_flags(self) -> List[str]:
        return ['--device_target', self.target] if self.target else []


def read_settings() -> Settings:
    """Return the settings from the environment.

    Raises:
        PoseError: a variable has an impossible value; the message names it.
    """
    target = os.environ.get('DEVICE_TARGET', '')
    if target not in ('', 'auto', *TARGETS):
        raise PoseError(f'DEVICE_TARGET={target} should be {", ".join(TARGETS)} or auto')
    stop_seconds = os.environ.get('STOP_SECONDS') or '120'
    if not whole_number(stop_seconds):
        raise PoseError(f'STOP_SECONDS={stop_seconds} should be a whole number')
    return Settings('' if target == 'auto' else target, _find_python(), int(stop_seconds),
                    os.environ.get('SERVER_ID', ''), os.environ.get('MASTER_PORT', ''))


def _find_python() -> str:
    """Return the path of the job's interpreter. Links are not resolved, because virtual environments need them."""
    name = os.environ.get('PYTHON') or sys.executable
    found = shutil.which(name)
    if found is None:
        raise PoseError(f"no Python found at '{name}'; choose one with PYTHON=/path/to/python")
    return os.path.abspath(found)


def choose_port(settings: Settings) -> int:
    """Return MASTER_PORT, or a port that is free now.

    Raises:
        PoseError: MASTER_PORT is not a port number.
    """
    text = settings.master_port
    if text:
        if not whole_number(text) or not 0 < int(text) < 2 ** 16:
            raise PoseError(f"MASTER_PORT should be the number of a free port, is '{text}'")
        return int(text)
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        return server.getsockname()[1]


def clean_environment() -> Dict[str, str]:
    """Return the environment without variables that would make the new job part of an outer one."""
    return {name: value for name, value in os.environ.items() if name not in INHERITED}

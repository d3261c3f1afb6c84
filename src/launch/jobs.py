"""A job: one process, or several that work together, each with its device and its environment variables.

Without a rank table the processes find each other through MindSpore's dynamic cluster, as with `msrun`: a scheduler,
which is the same program with MS_ROLE=MS_SCHED, waits at a port until all workers have connected.
"""
import os
from dataclasses import dataclass
from typing import Dict, Optional, Tuple

from ..system.errors import PoseError
from .job_files import JobFiles, Log
from .rank_tables import describe_rank_table, load_rank_table
from .settings import Settings, choose_port

# How long the processes wait for each other at the start, as with msrun.
MEETING_SECONDS = 600


@dataclass(frozen=True)
class Rank:
    """One process of a job.

    Attributes:
        number: 0 for the first; counted over all servers.
        device: index among the devices of this server.
        variables: environment variables that tell the process its rank; none if it is the only process.
    """

    number: int
    device: int
    variables: Dict[str, str]


@dataclass(frozen=True)
class Job:
    """What is to be started on this server.

    Attributes:
        task: 'train' or 'eval'.
        command: interpreter, -u, script and flags, the same for every rank.
        ranks: those of this server, at least one, in the order of their numbers.
        scheduler: environment variables of the cluster's scheduler; None if there is no scheduler.
        is_single: the job is a single process on one device.
        server: position of this server in the rank table.
        files: its logs and its record.
        stop_seconds: how long it may take to save after a request to stop.
        notes: lines about the rank table.
    """

    task: str
    command: Tuple[str, ...]
    ranks: Tuple[Rank, ...]
    scheduler: Optional[Dict[str, str]]
    is_single: bool
    server: int
    files: JobFiles
    stop_seconds: int
    notes: Tuple[str, ...] = ()

    @property
    def flags(self) -> Tuple[str, ...]:
        """The flags for train.py or eval.py."""
        return self.command[3:]

    def name_of(self, rank: Rank) -> str:
        """Return the name of a process in messages."""
        return f'device {rank.device}' if self.is_single else f'rank {rank.number}'


def job_of_one(task: str, device: int, command: Tuple[str, ...], settings: Settings, ckpt_dir: str) -> Job:
    """Return a job of one process on one device.

    Args:
        ckpt_dir: folder of a training; '' for an evaluation, whose log stays in the current folder.
    """
    ranks = (Rank(0, device, {}),)
    log = Log.of(f'{task}_log{device}.txt', ckpt_dir, 'rank_0.txt')
    # In the background the process and its launcher share one log.
    files = JobFiles(ckpt_dir, {0: log}, launch=log, scheduler=None)
    return Job(task, command, ranks, None, True, 0, files, settings.stop_seconds)


def job_of_many(task: str, table: str, num_devices: int, command: Tuple[str, ...], settings: Settings,
                ckpt_dir: str) -> Job:
    """Return a job of one process for each device of this server.

    Args:
        table: path of a rank table, or 'none'.
        num_devices: of this server.
        ckpt_dir: as in `job_of_one`.

    Raises:
        PoseError: the table is wrong, has another number of devices, or it is unclear which of its servers this is; or
            MASTER_PORT is wrong.
    """
    server, scheduler, notes, size = 0, None, (), num_devices
    if table == 'none':
        ranks, scheduler = _cluster(num_devices, choose_port(settings))
    else:
        server, ranks, notes = _read_table(table, num_devices, settings.server_id)
        size = int(ranks[0].variables['RANK_SIZE'])
    logs = {rank.number: Log.of(f'{task}_parallel{rank.number}/log.txt', ckpt_dir, f'rank_{rank.number}.txt')
            for rank in ranks}
    first = f'{task}_parallel{ranks[0].number}'
    # Each server has a launcher of its own, and CKPT_DIR may be one folder for all of them.
    ending = f'_{server}' if server else ''
    files = JobFiles(ckpt_dir, logs, launch=Log.of(f'{first}/launch.txt', ckpt_dir, f'launch{ending}.txt'),
                     scheduler=Log.of(f'{first}/scheduler.txt', ckpt_dir, 'scheduler.txt'),
                     is_whole=size == len(ranks))
    return Job(task, command, ranks, scheduler, False, server, files, settings.stop_seconds, notes)


def _cluster(size: int, port: int) -> Tuple[Tuple[Rank, ...], Dict[str, str]]:
    """Return the ranks of a dynamic cluster on this machine, and the variables of its scheduler."""
    shared = {'MS_WORKER_NUM': str(size), 'MS_SCHED_HOST': '127.0.0.1', 'MS_SCHED_PORT': str(port),
              'MS_TOPO_TIMEOUT': str(MEETING_SECONDS), 'RANK_SIZE': str(size)}
    ranks = tuple(Rank(number, number, {**shared, 'MS_ROLE': 'MS_WORKER', 'MS_NODE_ID': str(number),
                                        'RANK_ID': str(number), 'DEVICE_ID': str(number)}) for number in range(size))
    return ranks, {**shared, 'MS_ROLE': 'MS_SCHED', 'RANK_ID': '0'}


def _read_table(path: str, num_devices: int, server_id: str) -> Tuple[int, Tuple[Rank, ...], Tuple[str, ...]]:
    """Return the position of this server in a rank table, its ranks, and notes on the table."""
    if not os.path.isfile(path):
        raise PoseError(f'the rank table {path} is not there (none: the processes join without one)')
    path = os.path.realpath(path)
    table = load_rank_table(path)
    servers = table['server_list']
    known = ' '.join(f'{number}={server["server_id"]}' for number, server in enumerate(servers))
    if len(servers) > 1 and not server_id:
        raise PoseError(f'{path} has several servers; SERVER_ID should say which one this is, by position or by '
                        f'server_id: {known}')
    wanted = server_id or '0'
    found = [number for number, server in enumerate(servers) if wanted in (str(number), server['server_id'])]
    if not found:
        raise PoseError(f'SERVER_ID={server_id} is no server of {path}; its servers: {known}')
    devices = servers[found[0]]['device']
    if len(devices) != num_devices:
        raise PoseError(f'DEVICE_NUM is {num_devices}, but {path} has {len(devices)} device(s) on this server')
    size = sum(len(server['device']) for server in servers)
    ranks = [Rank(int(each['rank_id']), int(each['device_id']), {
        'RANK_TABLE_FILE': path, 'RANK_SIZE': str(size), 'RANK_ID': each['rank_id'], 'DEVICE_ID': each['device_id'],
        'ASCEND_DEVICE_ID': each['device_id']}) for each in devices]
    return found[0], tuple(sorted(ranks, key=lambda rank: rank.number)), tuple(describe_rank_table(path, table))

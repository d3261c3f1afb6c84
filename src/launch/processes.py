"""Finding the processes of a job through /proc, by a mark in their environment.

Every process of a job inherits `POSE_LAUNCH=<mark>`. So none is missed at the end, not even the loader processes of a
rank and their children.
"""
import contextlib
import os
import signal
import time
from typing import List

MARK_VARIABLE = 'POSE_LAUNCH'
_SCHEDULER = b'MS_ROLE=MS_SCHED'
# Rounds of SIGKILL, a tenth of a second apart, because a process may start another one just before it is killed.
_ROUNDS = 50


def _environment(pid: int) -> List[bytes]:
    """Return the environment that a process was started with; [] if it has ended or belongs to another user."""
    try:
        with open(f'/proc/{pid}/environ', 'rb') as file:
            return file.read().split(b'\0')
    except OSError:
        return []


def job_processes(mark: str) -> List[int]:
    """Return the ids of all living processes of a job."""
    wanted = f'{MARK_VARIABLE}={mark}'.encode()
    return [pid for pid in map(int, filter(str.isdigit, os.listdir('/proc'))) if wanted in _environment(pid)]


def rank_processes(mark: str) -> List[int]:
    """Return the ids of the living ranks of a job: its session leaders, without the scheduler."""
    ranks = []
    for pid in job_processes(mark):
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(pid) == pid and _SCHEDULER not in _environment(pid):
                ranks.append(pid)
    return ranks


def kill_job(mark: str) -> None:
    """End all remaining processes of a job with SIGKILL."""
    for _ in range(_ROUNDS):
        left = job_processes(mark)
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


class Deadline:
    """A point in time `seconds` from now, by the monotonic clock."""

    def __init__(self, seconds: float):
        self._end = time.monotonic() + seconds

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._end - time.monotonic())

    @property
    def is_past(self) -> bool:
        return self.seconds_left == 0

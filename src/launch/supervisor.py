"""Starts the processes of a job, watches them, passes on a stop signal, and ends all that are left."""
import contextlib
import os
import signal
import subprocess
from typing import Dict, List, NamedTuple, Optional

from ..system.device import JOB_FOLDER_VARIABLE
from .job_files import Log
from .jobs import Job, Rank
from .processes import MARK_VARIABLE, Deadline, kill_job
from .settings import clean_environment
from .signals import Signals

# How long the other ranks may take to end when one has failed.
GRACE_SECONDS = 10
# Time between two checks of the processes and of a deadline; the end of a process or a signal is noticed at once.
LOOK_SECONDS = 0.5
KILLED, STOPPED = 128 + signal.SIGKILL, 128 + signal.SIGTERM


class Ending(NamedTuple):
    """How a job has ended.

    Attributes:
        status: exit status.
        message: message for the user, '' for none.
        log: log whose last lines belong to the message, if any.
    """

    status: int
    message: str = ''
    log: Optional[Log] = None


class Supervisor:
    """The ranks of a job and their scheduler, from their start to their end.

    Args:
        job: its files have to be prepared.
        signals: its block has to be entered; a stop signal is passed on to every rank, once, as SIGTERM.
        mark: the mark of all processes of the job, see `processes.py`.
    """

    def __init__(self, job: Job, signals: Signals, mark: str):
        self.job, self._signals, self._mark = job, signals, mark
        self._ranks: Dict[int, subprocess.Popen] = {}
        self._scheduler: Optional[subprocess.Popen] = None
        self._is_told = False

    def run(self) -> Ending:
        """Start all processes, and return when none of them is left."""
        try:
            self._start()
            ending = self._watch()
            self._wait_for_the_rest(ending)
            return ending
        finally:
            kill_job(self._mark)
            for process in filter(None, [self._scheduler, *self._ranks.values()]):
                # A process that waits for a device in the kernel may not end in this time.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE_SECONDS)

    def _start(self) -> None:
        environment = {**clean_environment(), MARK_VARIABLE: self._mark}
        files = self.job.files
        if files.ckpt_dir:
            environment[JOB_FOLDER_VARIABLE] = os.path.abspath(files.ckpt_dir)
        if self.job.scheduler and not self._signals.stop_requested:
            self._scheduler = self._spawn({**environment, **self.job.scheduler}, files.scheduler)
        for rank in self.job.ranks:
            if not self._signals.stop_requested:
                self._ranks[rank.number] = self._spawn({**environment, **rank.variables}, files.ranks[rank.number])

    def _spawn(self, environment: Dict[str, str], log: Log) -> subprocess.Popen:
        with open(log.path, 'ab') as file:
            # A session of its own: Ctrl-C in the terminal reaches the launcher only.
            return subprocess.Popen(self.job.command, env=environment, stdin=subprocess.DEVNULL, stdout=file,
                                    stderr=subprocess.STDOUT, start_new_session=True)

    def _watch(self) -> Ending:
        """Wait until the job has ended, or has to be ended, and return how."""
        deadline: Optional[Deadline] = None
        while True:
            failure = self._failure()
            if failure:
                return failure
            running = self._running()
            if not running:
                return self._good_ending()
            if self._signals.stop_requested and deadline is None:
                self._terminate()
                deadline = Deadline(self.job.stop_seconds)
            if deadline and deadline.is_past:
                late = ' '.join(str(rank.number) for rank in running)
                late = self.job.name_of(running[0]) if self.job.is_single else f'ranks {late}'
                return Ending(KILLED, f'error: still running {self.job.stop_seconds} s after SIGTERM, so killed: '
                              + late)
            self._wait(deadline)

    def _wait(self, deadline: Optional[Deadline]) -> None:
        self._signals.wait(min(LOOK_SECONDS, deadline.seconds_left) if deadline else LOOK_SECONDS)

    def _running(self) -> List[Rank]:
        return [rank for rank in self.job.ranks
                if rank.number in self._ranks and self._ranks[rank.number].poll() is None]

    def _failure(self) -> Optional[Ending]:
        """Return how the job has failed, None if it has not."""
        for rank in self.job.ranks:
            code = self._ranks[rank.number].poll() if rank.number in self._ranks else None
            if code:
                name, status = self.job.name_of(rank), _status_of(code)
                if self._signals.stop_requested and status == STOPPED:
                    return Ending(status, f'stopped on request; SIGTERM ended {name} before it could save')
                return self._describe(name, status, self.job.files.ranks[rank.number])
        code = self._scheduler.poll() if self._scheduler else None
        if code and self._running():
            # The ranks would wait for it.
            return self._describe('the scheduler', _status_of(code), self.job.files.scheduler)
        return None

    def _describe(self, who: str, status: int, log: Log) -> Ending:
        how = (f'ended with status {status}' if status <= 128
               else f'was ended by signal {status - 128} (status {status})')
        others = '' if self.job.is_single else ' and the others were ended with it'
        return Ending(status, f'error: {self.job.task}: {who} {how}{others}; log: {log.name}', log)

    def _good_ending(self) -> Ending:
        if not self._ranks:
            return Ending(STOPPED, 'stopped on request before the processes had started')
        if self._signals.stop_requested:
            return Ending(0, 'stopped on request; every process ended with status 0')
        return Ending(0)

    def _wait_for_the_rest(self, ending: Ending) -> None:
        """Wait a short time for the remaining processes to end by themselves."""
        if ending.status == KILLED and not ending.log:
            # The processes have already had STOP_SECONDS to end.
            return
        if ending.status:
            self._terminate()
        deadline = Deadline(GRACE_SECONDS)
        # After a failure the scheduler does not end by itself.
        while not deadline.is_past and (
                self._running() or (not ending.status and self._scheduler and self._scheduler.poll() is None)):
            self._wait(deadline)

    def _terminate(self) -> None:
        """Send SIGTERM to every rank, once."""
        if not self._is_told:
            for rank in self._running():
                self._ranks[rank.number].send_signal(signal.SIGTERM)
        self._is_told = True


def _status_of(code: int) -> int:
    """Return the exit status of a process as shells do: 128 plus the number of the signal if a signal ended it."""
    return code if code >= 0 else 128 - code

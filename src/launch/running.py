"""Runs a job, either in the foreground, where the terminal waits for its end, or in the background."""
import os
import signal
import subprocess
import sys
import uuid
from typing import Optional, Sequence

from ..system.command_line import say
from ..system.printing import printable
from .job_files import Log
from .jobs import Job
from .records import ROOT, close_record, describe_job, write_record
from .settings import clean_environment
from .signals import Signals
from .supervisor import Ending, Supervisor
from .watchdog import Watchdog

# Number of last lines of a failed rank's log that are shown.
SHOWN_LINES = 20
STARTER = os.path.join(ROOT, 'scripts', 'launch.py')


def run_in_foreground(job: Job, signals: Signals, typed: Sequence[str]) -> int:
    """Run a job to its end, show the log of its first rank, and return its exit status.

    Args:
        signals: its block has to be entered.
        typed: the launch script and its arguments, for the record.

    Raises:
        PoseError: another job writes to the same files.
        OSError: a file of the job cannot be written; the message names it.
    """
    job.files.prepare(job.server, _logs(job), say)
    _announce(job)
    return _supervise(job, signals, typed, shown_log=job.files.first.path)


def run_in_background(job: Job, typed: Sequence[str]) -> int:
    """Check a job, start it, print how to stop it, and return 0. If it cannot start, a message is printed and another
    status is returned.

    Raises:
        PoseError, OSError: see `run_in_foreground`.
    """
    status = subprocess.run([job.command[0], STARTER, 'check', job.task, *job.flags], stdin=subprocess.DEVNULL,
                            env=clean_environment(), check=False).returncode
    if status:
        return status if status > 0 else 128 - status
    reader, writer = os.pipe()
    sys.stdout.flush()
    launcher = os.fork()
    if launcher == 0:
        os.close(reader)
        sys.exit(_run_behind(job, typed, writer))
    os.close(writer)
    if not os.read(reader, 1):
        # The launcher has ended and printed why.
        return os.waitstatus_to_exitcode(os.waitpid(launcher, 0)[1])
    _announce(job)
    if not job.is_single:
        say(f'messages of the launcher: {job.files.launch.name}')
    how = 'stop it with a checkpoint and status 0' if job.task == 'train' else 'stop it'
    say(f'it runs in the background; {how}: kill {launcher}')
    return 0


def _run_behind(job: Job, typed: Sequence[str], ready: int) -> int:
    """Run a job in this process, detached from the terminal; return its exit status.

    Args:
        ready: a pipe; a byte is written to it as soon as the job can be stopped.
    """
    os.setsid()
    # As nohup does; the ranks inherit it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    job.files.prepare(job.server, [*_logs(job), job.files.launch], say)
    with Signals() as signals, open(job.files.launch.path, 'ab') as log, open(os.devnull, 'rb') as nothing:
        for source, number in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source.fileno(), number)
        os.write(ready, b'.')
        os.close(ready)
        return _supervise(job, signals, typed, shown_log=None)


def _logs(job: Job) -> list:
    """Return the logs that the processes of a job write."""
    return [*job.files.ranks.values(), *([job.files.scheduler] if job.scheduler else [])]


def _announce(job: Job) -> None:
    files = job.files
    say(*job.notes)
    if job.is_single:
        say(f'{job.task} on {job.name_of(job.ranks[0])}; log: {files.first.name}')
    else:
        names = ' '.join(os.path.relpath(log.name) for log in files.ranks.values())
        say(f'{job.task} on {len(job.ranks)} devices; logs in {os.getcwd()}: {names}')


def _supervise(job: Job, signals: Signals, typed: Sequence[str], shown_log: Optional[str]) -> int:
    record = describe_job(job, typed)
    write_record(job, record)
    mark = uuid.uuid4().hex
    watchdog = Watchdog(mark, job.stop_seconds, shown_log)
    try:
        ending = Supervisor(job, signals, mark).run()
    finally:
        watchdog.dismiss()
    _report(job, ending, in_foreground=shown_log is not None)
    try:
        close_record(job, record, ending.status)
    except OSError as error:
        # The job is done: a record that cannot be written does not change its status.
        print(printable(f'note: {error}', sys.stderr), file=sys.stderr)
    return ending.status


def _report(job: Job, ending: Ending, *, in_foreground: bool) -> None:
    """Print how a job has ended, to stderr."""
    lines = [ending.message] if ending.message else []
    # In the background a single process and its launcher share one log.
    if ending.log and (in_foreground or ending.log != job.files.launch):
        lines += _last_lines(ending.log)
    for line in lines:
        print(printable(line, sys.stderr), file=sys.stderr, flush=True)


def _last_lines(log: Log) -> list:
    """Return the last lines of a log; of a progress bar, which overwrites its line, only the last state."""
    with open(log.path, 'rb') as file:
        file.seek(max(0, os.path.getsize(log.path) - SHOWN_LINES * 1000))
        text = file.read().decode('utf-8', 'backslashreplace').rstrip('\n')
    return [line.rstrip('\r').rpartition('\r')[2] for line in text.split('\n')[-SHOWN_LINES:] if text]

"""The files of a job: logs, links to them, and the record of the job.

For a training all of them are in its CKPT_DIR:

    logs/rank_0.txt …   output of each process
    logs/scheduler.txt  output of the scheduler, in jobs without a rank table
    logs/launch.txt     messages of a launcher in the background (with a single process they are in rank_0.txt)
    logs/earlier_1/ …   all of these files from earlier jobs in this folder
    job.json            command line, processes, versions, exit status
    config.yaml         the whole configuration that the job runs with (train.py writes it; --recipe takes it)

The traditional names in the current folder, such as train_log0.txt and train_parallel0/log.txt, are links to the logs.
An evaluation has no folder, so its logs are in the current folder, under such names.
"""
import contextlib
import os
import re
from dataclasses import dataclass, field
from typing import Callable, Dict, Iterable, List, NamedTuple, Optional

from ..system.device import CONFIG_NAME
from ..system.errors import PoseError
from ..system.file_locks import FileInUseError, FileLocks
from ..system.files import make_folder


class Log(NamedTuple):
    """A log file.

    Attributes:
        path: absolute path of the file.
        name: absolute path under its traditional name: a link to `path`, or the file itself.
    """

    path: str
    name: str

    @classmethod
    def of(cls, name: str, ckpt_dir: str, file_name: str) -> 'Log':
        """Return the log `file_name` in CKPT_DIR/logs with a link `name`, or, without a CKPT_DIR, the file `name`."""
        name = os.path.abspath(name)
        return cls(os.path.join(os.path.abspath(ckpt_dir), 'logs', file_name) if ckpt_dir else name, name)


@dataclass
class JobFiles:
    """The files of a job.

    Attributes:
        ckpt_dir: folder of a training; '' for an evaluation.
        ranks: {rank: its log}.
        launch: log of the launcher in the background.
        scheduler: log of the scheduler; None if the job cannot have one.
        is_whole: whether no other server has ranks of this job.
    """

    ckpt_dir: str
    ranks: Dict[int, Log]
    launch: Log
    scheduler: Optional[Log]
    is_whole: bool = True
    _locks: Optional[FileLocks] = field(default=None, repr=False)

    @property
    def first(self) -> Log:
        """The log of the first rank of this server, which is shown in the foreground."""
        return self.ranks[min(self.ranks)]

    def record(self, server: int) -> str:
        """Return the path of the record of the job on the server at this position of a rank table."""
        return os.path.join(os.path.abspath(self.ckpt_dir), f'job_{server}.json' if server else 'job.json')

    def prepare(self, server: int, used: Iterable[Log], tell: Callable[[str], None]) -> None:
        """Lock the logs, move those of an earlier job away, and create the new ones.

        Args:
            server: as for `record`.
            used: the logs that this job is going to write.
            tell: called with a line for each link that cannot be made.

        Raises:
            PoseError: another job writes to them.
            OSError: they cannot be written; the message names one.
        """
        if self.ckpt_dir:
            try:
                make_folder(self.ckpt_dir)
            except OSError as error:
                raise PoseError(f'cannot make or write the folder {self.ckpt_dir}: {error}') from None
        try:
            # The locks last until this process ends, however it ends.
            self._locks = FileLocks([log.path for log in self.ranks.values()])
        except FileInUseError as error:
            raise PoseError(f'another job runs here and writes to {error.path}; choose another '
                            f'{"CKPT_DIR" if self.ckpt_dir else "current folder"}, or stop that job first') from None
        known = dict.fromkeys([*self.ranks.values(), self.launch, *filter(None, [self.scheduler])])
        if self.ckpt_dir:
            self._set_aside([*(log.path for log in known), self.record(server)])
        for log in known:
            _make_way(log)
        for log in dict.fromkeys(used):
            make_folder(os.path.dirname(log.path))
            with open(log.path, 'xb'):
                pass
            if log.name != log.path:
                _link(log, tell)

    def _set_aside(self, own: List[str]) -> None:
        """Move the files of an earlier job into the first folder logs/earlier_<number> that has none of these names.

        Args:
            own: the files of this server. Only these are moved if other servers take part in the job, else all files.
        """
        folder = os.path.abspath(self.ckpt_dir)
        logs = os.path.join(folder, 'logs')
        config = os.path.join(folder, CONFIG_NAME)
        if self.is_whole:
            # An earlier job may have had more ranks.
            paths = [os.path.join(logs, name) for name in sorted(os.listdir(logs)) if name.endswith('.txt')]
            paths += [os.path.join(folder, name) for name in sorted(os.listdir(folder))
                      if re.fullmatch(r'job(_\d+)?\.json', name)] + [config]
        else:
            paths = own + [config] * (0 in self.ranks)
        paths = list(filter(os.path.exists, paths))
        number = 1
        while any(os.path.exists(os.path.join(logs, f'earlier_{number}', os.path.basename(path))) for path in paths):
            number += 1
        earlier = os.path.join(logs, f'earlier_{number}')
        for path in paths:
            os.makedirs(earlier, exist_ok=True)
            os.replace(path, os.path.join(earlier, os.path.basename(path)))


def _make_way(log: Log) -> None:
    """Remove the link of an earlier job, or rename a file of this name to .old.txt. Of evaluations only the latest
    .old.txt is kept."""
    if os.path.islink(log.name):
        # Another launcher may remove it at the same time.
        with contextlib.suppress(FileNotFoundError):
            os.remove(log.name)
    elif os.path.exists(log.name):
        old = f'{os.path.splitext(log.name)[0]}.old.txt'
        number = 1
        # A file in the place of a link is not ours, and a running program may use it: never overwrite it.
        while log.name != log.path and os.path.exists(old):
            number += 1
            old = f'{os.path.splitext(log.name)[0]}.old_{number}.txt'
        os.replace(log.name, old)


def _link(log: Log, tell: Callable[[str], None]) -> None:
    folder = os.path.dirname(log.name)
    make_folder(folder)
    temporary = f'{log.name}.{os.getpid()}.tmp'
    # A relative link stays valid when the folders are moved together.
    target = os.path.relpath(os.path.realpath(log.path), os.path.realpath(folder))
    try:
        os.symlink(target, temporary)
        os.replace(temporary, log.name)
    except OSError as error:
        # Some file systems do not support links.
        tell(f'note: cannot link {log.name} ({error.strerror or error}); the log is {log.path}')

"""The files of a training run: their names, their locks, and moving those of an earlier run out of the way."""
import contextlib
import glob
import os
import shutil
from typing import Callable, Iterator, List, Optional

from easydict import EasyDict

from ..config import to_yaml
from ..data.loader import BatchPlan
from ..system.device import CONFIG_NAME, JOB_FOLDER_VARIABLE, Processes
from ..system.errors import PoseError
from ..system.file_locks import FileInUseError, FileLocks, check_unlocked, lock_names
from ..system.files import check_writable, write_bytes
from .log import MetricsLog
from .states import Progress


def write_job_config(config: EasyDict) -> None:
    """Write the whole configuration, as a recipe, into the folder of the job, if a launch script started this process.

    Raises:
        OSError: it cannot be written; the message names the path.
    """
    folder = os.environ.get(JOB_FOLDER_VARIABLE)
    if folder:
        head = '# The whole configuration of a job; --recipe takes this file.\n'
        write_bytes(os.path.join(folder, CONFIG_NAME), (head + to_yaml(config)).encode('utf-8'))


class RunFiles:
    """The files of a run, all in the folder of its checkpoint: `<stem>.ckpt`, `<stem>_best.ckpt`, `<stem>_states/`,
    `<stem>_metrics.jsonl`, `<stem>_curve.png`, `<stem>_events/`, and `<stem>_epoch_0010.ckpt` of single epochs.

    Args:
        ckpt_path: TRAIN.CKPT_SAVE_PATH.
        metrics_path: another path for the metrics, or None.

    Raises:
        PoseError: the checkpoint's name does not end in .ckpt.
    """

    def __init__(self, ckpt_path: str, metrics_path: Optional[str] = None):
        if not ckpt_path.endswith('.ckpt'):
            raise PoseError(f'ckpt_save_path {ckpt_path} should end in .ckpt')
        self.ckpt, self.stem = ckpt_path, os.path.splitext(ckpt_path)[0]
        self.metrics = metrics_path or f'{self.stem}_metrics.jsonl'
        self.best, self.curve = f'{self.stem}_best.ckpt', f'{self.stem}_curve.png'
        self.states, self.events = f'{self.stem}_states', f'{self.stem}_events'
        self._is_metrics_given = metrics_path is not None
        self._locks: Optional[FileLocks] = None

    def of_epoch(self, epoch: int) -> str:
        """Return the path of the checkpoint of one epoch."""
        return f'{self.stem}_epoch_{epoch:04d}.ckpt'

    @property
    def of_epochs(self) -> List[str]:
        """The existing checkpoints of single epochs, in the order of the epochs."""
        found = {}
        for path in glob.glob(f'{glob.escape(self.stem)}_epoch_*.ckpt'):
            number = path[len(self.stem) + len('_epoch_'):-len('.ckpt')]
            if number.isdecimal():
                found[int(number)] = path
        return [found[number] for number in sorted(found)]

    def check(self) -> None:
        """Check that all files can be written and that no other process writes them; the check leaves no files.

        Raises:
            PoseError: another process writes to one of them, or the metrics would overwrite another of them.
            OSError: one cannot be written; the message names it.
        """
        for path, what in ((self.ckpt, 'is the checkpoint'), (self.best, 'is the best checkpoint'),
                           (self.curve, 'is the curve'), (self.states, 'lies among the states'),
                           (self.events, 'lies among the events')):
            if (set(lock_names(path)) & set(lock_names(self.metrics))
                    or os.path.realpath(path) == os.path.dirname(os.path.realpath(self.metrics))):
                raise PoseError(f'--metrics_path {self.metrics} {what} of the run itself; choose another place')
        with self._in_use_is_told():
            check_unlocked([*self._single_files(), self.states])
        check_writable(self.ckpt)
        check_writable(self.metrics)

    def lock(self) -> List[str]:
        """Lock these files against other processes until this process ends, however it ends.

        Returns:
            The files on a file system without locks, where another process would not be noticed.

        Raises:
            PoseError, OSError: see `check`.
        """
        self.check()
        with self._in_use_is_told():
            self._locks = FileLocks(self._single_files(), [self.states])
        return self._locks.unwatched

    def _single_files(self) -> List[str]:
        return [self.ckpt, self.best, self.metrics, self.curve, self.events]

    @contextlib.contextmanager
    def _in_use_is_told(self) -> Iterator[None]:
        try:
            yield
        except FileInUseError as error:
            other = '--ckpt_save_path'
            if error.path == self.metrics:
                other = '--metrics_path' if self._is_metrics_given else f'{other} or --metrics_path'
            raise PoseError(f'another process is training into {error.path}; choose another {other}') from None

    def remove_leftovers(self) -> None:
        """Remove the unfinished files of killed processes; the caller holds the lock."""
        names = [glob.escape(path) for path in (self.ckpt, self.best, self.metrics, self.curve)]
        for path in (*names, f'{glob.escape(self.stem)}_epoch_*.ckpt'):
            folder, name = os.path.split(path)
            for pattern in (f'.{name}.[0-9]*.tmp*', f'{name}.[0-9]*.tmp'):
                for leftover in glob.glob(os.path.join(folder, pattern)):
                    os.remove(leftover)

    def set_aside_earlier_run(self, say: Callable[[str], None]) -> None:
        """Move the files of an earlier run into a folder `<stem>_earlier_<number>`."""
        states = glob.glob(os.path.join(glob.escape(self.states), 'step_*.ckpt'))
        if not states and not os.path.exists(self.best) and not os.path.exists(self.metrics):
            return
        # The states last: if this process is killed in between, the rest is still recognised as a run.
        folder = self._set_aside([self.ckpt, self.best, self.metrics, self.curve, self.events, *self.of_epochs],
                                 states)
        say(f'a run was here before: its files are now in {folder} (--resume auto would have continued it)')

    def set_aside_states(self, states: List[str], say: Callable[[str], None]) -> None:
        """Move states into a folder `<stem>_earlier_<number>`. These are the states newer than the one that a run was
        resumed from: left in place, they would be taken for its newest."""
        if states:
            say(f'{len(states)} newer states are now in {self._set_aside([], states)}')

    def _set_aside(self, paths: List[str], states: List[str]) -> str:
        number = 1
        while os.path.exists(f'{self.stem}_earlier_{number}'):
            number += 1
        folder = f'{self.stem}_earlier_{number}'
        for path in filter(os.path.exists, [*paths, *states]):
            place = os.path.join(folder, os.path.basename(self.states)) if path in states else folder
            os.makedirs(place, exist_ok=True)
            # Not a rename: the metrics may be on another file system.
            shutil.move(path, os.path.join(place, os.path.basename(path)))
        return folder

    def open_log(self, config: EasyDict, plan: BatchPlan, progress: Progress, processes: Processes) -> MetricsLog:
        """Return the metrics log; only rank 0 writes one."""
        epoch, step = progress.step // plan.steps_per_epoch, progress.step % plan.steps_per_epoch
        # The last step of an epoch belongs to it, not to the next one.
        keep = (epoch + 1, step, False) if step else (
            epoch, plan.steps_per_epoch, progress.evaluated_step == progress.step)
        is_new = progress.step == config.TRAIN.BEGIN_EPOCH * plan.steps_per_epoch
        return MetricsLog(self.metrics if processes.is_first else '', keep=None if is_new else keep,
                          tensorboard_folder=self.events if config.TRAIN.TENSORBOARD else '')

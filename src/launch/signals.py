"""Waiting for signals that stop a job, and for the end of child processes."""
import os
import select
import signal
from typing import Dict

STOP_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


class Signals:
    """Within the block, a stop signal does not end this process but sets `stop_requested`.

    A signal that was ignored when this process started stays ignored, as in shells: SIGHUP under `nohup`, SIGINT for
    commands with `&` in a script.
    """

    def __init__(self) -> None:
        self.stop_requested = False
        self._before: Dict[int, object] = {}

    def __enter__(self) -> 'Signals':
        self._reader, self._writer = os.pipe()
        for handle in (self._reader, self._writer):
            os.set_blocking(handle, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._request_stop)
        # The handler does nothing, but with a handler Python writes a byte into the pipe, which ends `wait`.
        self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(-1)
        os.close(self._reader)
        os.close(self._writer)

    def _request_stop(self, *_) -> None:
        self.stop_requested = True

    def wait(self, seconds: float) -> None:
        """Return after `seconds`, or as soon as a signal arrives or a child process ends."""
        if select.select([self._reader], [], [], seconds)[0]:
            os.read(self._reader, 4096)

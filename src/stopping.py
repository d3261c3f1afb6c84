"""A polite end: SIGTERM and the first Ctrl-C let a training save its state before it leaves."""
import contextlib
import mmap
import os
import signal


class StopRequest:
    """Remembers SIGTERM and SIGINT between `__enter__` and `__exit__`; a second SIGINT interrupts at once.

    While a graph runs MindSpore sends itself SIGTERM for SIGINT: then it does not interrupt, and is told as SIGTERM.

    Loader processes inherit the handlers. A signal to the whole group, as Ctrl-C or a job scheduler sends it, must not
    end them before the step that they feed, so they ignore both signals until the owner has left the block.
    """

    def __init__(self):
        self.is_set = False
        self._owner = os.getpid()
        # Shared with the forked processes.
        self._is_over = mmap.mmap(-1, 1)
        self._before = {}

    def __enter__(self) -> 'StopRequest':
        self._before = {number: signal.signal(number, self._remember) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def listen(self) -> None:
        """Take SIGINT back from MindSpore, which has turned it into SIGTERM since the last graph ran."""
        if self._before:
            signal.signal(signal.SIGINT, self._remember)

    def __exit__(self, *_) -> None:
        self._is_over[0] = 1
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _remember(self, number, _frame) -> None:
        if os.getpid() != self._owner:
            if self._is_over[0]:
                os._exit(0)
            return
        if self.is_set and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.is_set = True
        # Not print: a handler may run in the middle of another print, whose buffer would refuse this one.
        with contextlib.suppress(OSError):
            os.write(1, f'{signal.Signals(number).name}: saving and stopping within two steps or after the evaluation\n'
                     .encode())

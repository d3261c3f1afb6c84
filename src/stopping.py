"""A polite end: SIGTERM and the first Ctrl-C let a training save its state before it leaves."""
import mmap
import os
import signal


class StopRequest:
    """Remembers SIGTERM and SIGINT between `__enter__` and `__exit__`; a second SIGINT interrupts at once.

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
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_) -> None:
        self._is_over[0] = 1
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number, _frame) -> None:
        if os.getpid() != self._owner:
            if self._is_over[0]:
                os._exit(0)
            return
        if self.is_set and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.is_set = True
        print(f'{signal.Signals(number).name}: stopping after this step', flush=True)

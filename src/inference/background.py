"""A generator that runs ahead in a thread of its own."""
import contextlib
import queue
import threading
from typing import Generic, Iterator, Optional, TypeVar

Item = TypeVar('Item')
SECONDS_BETWEEN_LOOKS = 0.1


class Ended(Exception):  # noqa: N818  not an error, but the end
    """There are no more items."""


class Background(Generic[Item]):
    """The items of a generator that runs ahead in a thread; `get` raises the generator's errors.

    Args:
        items: run in the thread.
        ahead: how many items may wait.
        newest_only: keep only the newest waiting item, as for a camera, which does not wait for its consumer.
    """

    def __init__(self, items: Iterator[Item], ahead: int, *, newest_only: bool = False):
        self._queue: queue.Queue = queue.Queue(1 if newest_only else ahead)
        self._items, self._newest_only = items, newest_only
        self._stopped, self._is_over = threading.Event(), False
        self._thread = threading.Thread(target=self._work, daemon=True, name='background')
        self._thread.start()

    def _work(self) -> None:
        end = Ended()
        try:
            for item in self._items:
                self._put((item, None))
                if self._stopped.is_set():
                    break
        except BaseException as error:  # noqa: BLE001  every error is handed to the consumer
            end = error
        finally:
            getattr(self._items, 'close', lambda: None)()
            self._put((None, end), is_last=True)

    def _put(self, entry, *, is_last: bool = False) -> None:
        takes_place = self._newest_only and not is_last
        while not self._stopped.is_set():
            try:
                self._queue.put(entry, block=not takes_place, timeout=SECONDS_BETWEEN_LOOKS)
                return
            except queue.Full:
                if takes_place:
                    with contextlib.suppress(queue.Empty):
                        self._queue.get_nowait()

    def get(self, *, wait: bool = True) -> Optional[Item]:
        """Return the next item; None if there is none yet and `wait` is False.

        Raises:
            Ended: there are no more items.
        """
        if self._is_over:
            raise Ended
        try:
            item, end = self._queue.get(block=wait)
        except queue.Empty:
            return None
        if end is not None:
            self._is_over = True
            raise end
        return item

    def __iter__(self) -> Iterator[Item]:
        try:
            while True:
                yield self.get()
        except Ended:
            return

    def close(self) -> None:
        """End the thread; waiting items are dropped."""
        self._stopped.set()
        self._thread.join()

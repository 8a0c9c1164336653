"""The query sample library: the samples that LoadGen wants in memory, and no others."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from ..errors import LoadGenError

Item = TypeVar("Item")


class Library(Generic[Item]):
    """Samples by index, prepared when LoadGen loads them and dropped when it unloads them.

    Args:
        prepare: makes the sample of an index; called in ``threads`` threads.
    """

    def __init__(self, prepare: Callable[[int], Item], threads: int) -> None:
        self._prepare, self._threads = prepare, threads
        self._held: dict[int, Item] = {}
        self._cancelled = False

    def load(self, indices: Sequence[int]) -> None:
        """Prepare samples; 64 at a time, 71 in MultiStream, which fills up its last query.

        Raises:
            whatever ``prepare`` raises, of the first sample that it cannot make.
        """

        def one(index: int) -> None:
            if not self._cancelled:
                self._held[index] = self._prepare(index)

        with ThreadPoolExecutor(self._threads, thread_name_prefix="library") as pool:
            for done in [pool.submit(one, index) for index in dict.fromkeys(indices)]:
                try:
                    done.result()
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise

    def unload(self, indices: Sequence[int]) -> None:
        """Forget samples."""
        for index in indices:
            self._held.pop(index, None)

    def cancel(self) -> None:
        """The run is over: load no more."""
        self._cancelled = True

    def __getitem__(self, index: int) -> Item:
        """
        Raises:
            LoadGenError: it was never loaded.
        """
        try:
            return self._held[index]
        except KeyError:
            raise LoadGenError(
                f"LoadGen asks for sample {index}, which it has not loaded; report it"
            ) from None

    def __len__(self) -> int:
        """Samples in memory."""
        return len(self._held)

"""The memory of the pretend device: what is alive, the most at once, and a limit."""

import threading
import weakref

import torch


class Memory:
    """Bytes of storages alive on the device; above `limit` (None: there is none) nothing more fits."""

    def __init__(self) -> None:
        self.live = self.peak = 0
        self.limit: int | None = None
        self.known: set[int] = set()
        self.lock = threading.RLock()  # storages are released in whatever thread drops them

    def set_limit(self, limit: int | None) -> None:
        """Let no more than `limit` bytes be alive; None: as many as there are."""
        self.limit = limit

    def start_peak(self) -> None:
        """Measure `peak` from now on."""
        self.peak = self.live

    def track(self, tensor: torch.Tensor) -> None:
        """Count the storage of a new tensor, unless it is counted already (a view).

        Raises:
            torch.OutOfMemoryError: it does not fit.
        """
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        with self.lock:
            if key in self.known:
                return
            if self.limit is not None and self.live + size > self.limit:
                raise torch.OutOfMemoryError(
                    f"the pretend device is out of memory: tried to allocate {size} bytes, {self.live} of "
                    f"{self.limit} are in use"
                )
            self.known.add(key)
            self.live += size
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        with self.lock:
            self.known.discard(key)
            self.live -= size


MEMORY = Memory()

"""Places limit the sessions of a worker.

Every worker writes its counts to the board, memory that the server and its workers share, so that
any worker and the control port can report the whole server.
"""

import mmap
import os
import struct
import time
from collections.abc import Iterator
from typing import NamedTuple

_SLOT = struct.Struct("<dIIII")
_HEADER = 64


class Slot(NamedTuple):
    """A worker's latest counts. `alive_at` is in seconds of the monotonic clock; `pid` is 0 until the
    worker is ready."""

    alive_at: float
    pid: int
    used: int
    limit: int
    refused: int

    @property
    def free(self) -> int:
        return max(0, self.limit - self.used)


class Board:
    """Memory that a server shares with its workers: one slot per worker and a draining flag."""

    def __init__(self, fd: int, workers: int) -> None:
        self.fd = fd
        self.workers = workers
        self._memory = mmap.mmap(fd, _HEADER + workers * _SLOT.size)

    @classmethod
    def create(cls, workers: int) -> "Board":
        fd = os.memfd_create("openenv-board")
        os.ftruncate(fd, _HEADER + workers * _SLOT.size)
        return cls(fd, workers)

    def write(self, index: int, slot: Slot) -> None:
        _SLOT.pack_into(self._memory, _HEADER + index * _SLOT.size, *slot)

    def read(self, index: int) -> Slot:
        return Slot(*_SLOT.unpack_from(self._memory, _HEADER + index * _SLOT.size))

    def clear(self, index: int) -> None:
        self.write(index, Slot(0.0, 0, 0, 0, 0))

    def __iter__(self) -> Iterator[Slot]:
        return (self.read(index) for index in range(self.workers))

    @property
    def draining(self) -> bool:
        return self._memory[0] == 1

    @draining.setter
    def draining(self, value: bool) -> None:
        self._memory[0] = int(value)


class Places:
    """The places of one worker."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.refused = 0
        self.own_port: int | None = None
        self._board: Board | None = None
        self._index = 0
        self._pid = os.getpid()

    def publish(self, board: Board, index: int, own_port: int) -> None:
        self._board, self._index, self.own_port = board, index, own_port
        self.beat()

    @property
    def draining(self) -> bool:
        return self._board is not None and self._board.draining

    def take(self) -> bool:
        if self.used >= self.limit or self.draining:
            self.refused += 1
            return False
        self.used += 1
        self.beat()
        return True

    def release(self) -> None:
        self.used -= 1
        self.beat()

    def beat(self) -> None:
        if self._board is not None:
            self._board.write(self._index, self._slot)

    @property
    def _slot(self) -> Slot:
        return Slot(time.monotonic(), self._pid, self.used, self.limit, self.refused)

    def overview(self) -> dict[str, object]:
        """The places of the whole server, or of this process when it has no board."""
        self.beat()
        slots = [self._slot] if self._board is None else list(self._board)
        return overview(slots, self.draining)


def overview(slots: list[Slot], draining: bool) -> dict[str, object]:
    return {
        "ready": not draining and all(slot.pid for slot in slots),
        "draining": draining,
        "used": sum(slot.used for slot in slots),
        "free": 0 if draining else sum(slot.free for slot in slots),
        "max_sessions": sum(slot.limit for slot in slots),
        "refused": sum(slot.refused for slot in slots),
        "workers": [slot._asdict() | {"free": slot.free} for slot in slots],
    }

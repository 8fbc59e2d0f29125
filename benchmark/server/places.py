"""Places limit the sessions of a worker.

Every worker writes its counts to the board, memory that the server and its workers share, so that
any worker and the control port can report the whole server. The board also has a record for each
place, which names the session and the code of its environment that is running: when a worker dies,
its server reports them.
"""

import mmap
import os
import re
import struct
import time
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from benchmark.server.settings import DEFAULT_MAX_CONCURRENT_ENVS

_SLOT = struct.Struct("<dIIII")
_CAPACITY = struct.Struct("<Q")
_CAPACITY_AT = 8
_TEXT = 1024
_ACTIVITY_AT, _FAILURE_AT = 64, 64 + _TEXT
_HEADER = 64 + 2 * _TEXT
# The length of a session id and the id itself, which is cut if it is longer.
_RECORD = 128
_RUNNING_CODE = re.compile(rb"[\x01-\x05]")


class Running(IntEnum):
    """The code of an environment that is running in a place."""

    NOTHING = 0
    CONSTRUCTOR = 1
    RESET = 2
    STEP = 3
    STATE = 4
    CLOSE = 5


class Trial(IntEnum):
    """Whether the environment of the app allows concurrent sessions, which worker 0 finds out."""

    UNKNOWN = 0
    CONCURRENT = 1
    SINGLE = 2


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
    """Memory that a server shares with its workers: the draining flag, the outcome of the trial, what the
    start of the server waits for, and for each worker a slot and the records of `capacity` places. Pages
    that were never written take no memory."""

    def __init__(self, fd: int, workers: int) -> None:
        self.fd = fd
        self.workers = workers
        self._memory = mmap.mmap(fd, _HEADER + workers * _SLOT.size)
        (self.capacity,) = _CAPACITY.unpack_from(self._memory, _CAPACITY_AT)

    @classmethod
    def create(cls, workers: int, capacity: int = DEFAULT_MAX_CONCURRENT_ENVS) -> "Board":
        capacity *= 2  # code that does not return has a record, but no place
        fd = os.memfd_create("openenv-board")
        os.ftruncate(fd, _records_at(workers, workers, capacity))
        os.pwrite(fd, _CAPACITY.pack(capacity), _CAPACITY_AT)
        return cls(fd, workers)

    def write(self, index: int, slot: Slot) -> None:
        _SLOT.pack_into(self._memory, _HEADER + index * _SLOT.size, *slot)

    def read(self, index: int) -> Slot:
        return Slot(*_SLOT.unpack_from(self._memory, _HEADER + index * _SLOT.size))

    def clear(self, index: int) -> None:
        self.write(index, Slot(0.0, 0, 0, 0, 0))
        self.records(index).erase()

    def records(self, index: int) -> "Records":
        start = _records_at(index, self.workers, self.capacity)
        return Records(
            mmap.mmap(self.fd, _records_size(self.capacity), offset=start), self.capacity
        )

    def running(self, index: int) -> list[tuple[str, Running]]:
        """The sessions of a worker in which code of their environment is running, and which code."""
        start = _records_at(index, self.workers, self.capacity)
        names = start + _aligned(self.capacity)
        # Reading by a system call allocates no pages, in contrast to reading mapped memory.
        codes = os.pread(self.fd, self.capacity, start)
        return [
            (
                _name(os.pread(self.fd, _RECORD, names + found.start() * _RECORD)),
                Running(found[0][0]),
            )
            for found in _RUNNING_CODE.finditer(codes)
        ]

    def __iter__(self) -> Iterator[Slot]:
        return (self.read(index) for index in range(self.workers))

    @property
    def draining(self) -> bool:
        return self._memory[0] == 1

    @draining.setter
    def draining(self, value: bool) -> None:
        self._memory[0] = int(value)

    @property
    def activity(self) -> str:
        """What the server waits for while it starts."""
        return self._text(_ACTIVITY_AT)

    @activity.setter
    def activity(self, text: str) -> None:
        self._set_text(_ACTIVITY_AT, text)

    @property
    def failure(self) -> str:
        """Why the server cannot start; empty if nothing is known."""
        return self._text(_FAILURE_AT)

    @failure.setter
    def failure(self, text: str) -> None:
        self._set_text(_FAILURE_AT, text)

    def _text(self, start: int) -> str:
        return self._memory[start : start + _TEXT].partition(b"\0")[0].decode(errors="ignore")

    def _set_text(self, start: int, text: str) -> None:
        self._memory[start : start + _TEXT] = text.encode()[: _TEXT - 1].ljust(_TEXT, b"\0")

    @property
    def trial(self) -> Trial:
        return Trial(self._memory[1])

    @trial.setter
    def trial(self, value: Trial) -> None:
        self._memory[1] = value


class Records:
    """The records of the places of one worker."""

    def __init__(self, memory: mmap.mmap, capacity: int) -> None:
        self._memory = memory
        self.running = memoryview(memory)[:capacity]
        self._names = _aligned(capacity)

    def write(self, place: int, session_id: str) -> None:
        name = session_id.encode()[: _RECORD - 1]
        start = self._names + place * _RECORD
        self._memory[start : start + 1 + len(name)] = bytes((len(name),)) + name

    def erase(self) -> None:
        """Returns the pages to the kernel."""
        self._memory.madvise(mmap.MADV_REMOVE)


def _name(record: bytes) -> str:
    return record[1 : 1 + record[0]].decode(errors="replace")


def _aligned(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


def _records_size(capacity: int) -> int:
    return _aligned(capacity) + _aligned(capacity * _RECORD)


def _records_at(index: int, workers: int, capacity: int) -> int:
    return _aligned(_HEADER + workers * _SLOT.size) + index * _records_size(capacity)


class Places:
    """The places of one worker. A session whose environment runs in this process also has a record:
    `place = record(session_id)`, `running[place] = Running.STEP` around the environment's code,
    `forget(place)` at its end."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.refused = 0
        self.own_port: int | None = None
        self._board: Board | None = None
        self._index = 0
        self._records: Records | None = None
        self._free: list[int] = []
        self._recorded = 0

    def attach(self, board: Board, index: int) -> None:
        """Writes records to the board from now on; must precede the first record."""
        self._board, self._index = board, index
        self._records = board.records(index)

    def publish(self, board: Board, index: int, own_port: int) -> None:
        """Reports this worker as ready."""
        if self._board is not board:
            self.attach(board, index)
        self.own_port = own_port
        self.beat()

    @property
    def running(self) -> memoryview:
        """For each place, the code that is running. Sessions write it before and after every call."""
        return self._open_records().running

    def record(self, session_id: str) -> int:
        if self._free:
            place = self._free.pop()
        else:
            place, self._recorded = self._recorded, self._recorded + 1
        self._open_records().write(place, session_id)
        return place

    def forget(self, place: int) -> None:
        self.running[place] = Running.NOTHING
        self._free.append(place)

    def _open_records(self) -> Records:
        if self._records is None:
            self._records = Records(mmap.mmap(-1, _records_size(2 * self.limit)), 2 * self.limit)
        return self._records

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
        if self._board is not None and self.own_port is not None:
            self._board.write(self._index, self._slot)

    @property
    def _slot(self) -> Slot:
        return Slot(time.monotonic(), os.getpid(), self.used, self.limit, self.refused)

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

"""Tells the author of an environment, in the log, what its code raised."""

import logging
import sys
import sysconfig
from collections import Counter
from types import CodeType

# Failures are told apart by their class and the line that raised them.
MAX_KINDS = 1000
LIBRARY = sysconfig.get_path("stdlib")

logger = logging.getLogger("uvicorn.error")


class FactoryFailed(Exception):
    """The environment could not be made; the message has the cause."""

    def __init__(self, name: str, cause: str) -> None:
        super().__init__(f"Environment factory '{name}' failed to create instance: {cause}")
        self.factory_name = name


def as_exception(failure: BaseException) -> BaseException:
    """A future cannot hold a StopIteration, and SystemExit would end the worker."""
    if isinstance(failure, Exception) and not isinstance(failure, StopIteration):
        return failure
    kind, text = type(failure).__name__, _text(failure)
    plain = RuntimeError(f"{kind}: {text}" if text else kind)
    return plain.with_traceback(failure.__traceback__)


def describe(failure: BaseException) -> str:
    """The exception in one line, with the line of code that raised it."""
    text = _text(failure)
    cause = f"{type(failure).__name__}: {text}" if text else type(failure).__name__
    where = _where(failure)
    return f"{cause} ({where})" if where else cause


def position(ident: int) -> str:
    """Where the code of a thread is, as "at FILE:LINE in FUNCTION"."""
    innermost = frame = sys._current_frames().get(ident)
    if innermost is None:
        return "not running"
    while frame is not None and _in_library(frame.f_code):
        frame = frame.f_back
    frame = frame or innermost
    return f"at {frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"


class Failures:
    """Logs each kind of failure the first, the tenth, the hundredth time, and so on: an environment may
    raise in every step of thousands of sessions."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[type, str]] = Counter()

    def report(self, session_id: str, failure: BaseException) -> None:
        cause = failure.__cause__ or failure
        kind = type(cause), _where(cause)
        if kind not in self._counts and len(self._counts) == MAX_KINDS:
            self._counts.clear()
        self._counts[kind] += 1
        times = self._counts[kind]
        if str(times).strip("0") == "1":
            text = _text(failure) if isinstance(failure, FactoryFailed) else describe(failure)
            again = f"; {times} times so far" if times > 1 else ""
            logger.warning("Session %s: %s%s", session_id, text, again)


def _text(failure: BaseException) -> str:
    try:
        text = str(failure)
    except Exception:  # noqa: BLE001 - an author's own class
        return ""
    return " ".join(text.encode(errors="replace").decode().split())[:1000]


def _where(failure: BaseException) -> str:
    found = entry = failure.__traceback__
    while entry is not None:
        if not _in_library(entry.tb_frame.f_code):
            found = entry
        entry = entry.tb_next
    return f"{found.tb_frame.f_code.co_filename}:{found.tb_lineno}" if found else ""


def _in_library(code: CodeType) -> bool:
    """Whether code is of the standard library, which tells an author less than what called it."""
    name = code.co_filename
    return name.startswith(("<frozen", LIBRARY)) and "-packages" not in name


report = Failures().report

"""The error types that the load writes into rows, and that decisions about rows refer to."""

from enum import StrEnum


class ErrorType(StrEnum):
    """`error_type` of a failed session's row.

    A row can also have a code that an environment server sent, or `HTTP_<status>`; see
    locustfiles/README.md.
    """

    CAPACITY_REACHED = "CAPACITY_REACHED"
    TIMEOUT = "TIMEOUT"
    CONNECT_REFUSED = "CONNECT_REFUSED"
    CONNECT_TIMEOUT = "CONNECT_TIMEOUT"
    CONNECT_FAILED = "CONNECT_FAILED"
    HANDSHAKE_FAILED = "HANDSHAKE_FAILED"
    DISCONNECTED = "DISCONNECTED"
    PROTOCOL_ERROR = "PROTOCOL_ERROR"
    UNKNOWN_ERROR = "UNKNOWN_ERROR"
    BAD_URL = "BAD_URL"
    BAD_PLAN = "BAD_PLAN"
    NO_DESCRIPTORS = "NO_DESCRIPTORS"
    NO_PORTS = "NO_PORTS"
    LOAD_ERROR = "LOAD_ERROR"
    LOAD_WORKER_LOST = "LOAD_WORKER_LOST"
    ROW_MISSING = "ROW_MISSING"
    NOT_STARTED = "NOT_STARTED"
    INTERRUPTED = "INTERRUPTED"

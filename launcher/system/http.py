"""Requests to the deployment. They bypass any proxy: the addresses are inside the cluster."""

import contextlib
import http.client
import json
import urllib.error
import urllib.request
from typing import Any

MAX_BYTES = 64 * 2**20
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Unreachable(OSError):
    """There was no response, or it was not HTTP or not a success; `status` is its code, if it has one,
    and `body` its content."""

    def __init__(self, reason: str, status: int | None = None, body: bytes = b"") -> None:
        super().__init__(reason)
        self.status, self.body = status, body


def get(url: str | urllib.request.Request, timeout: float) -> bytes:
    """Raises `Unreachable`."""
    try:
        with _opener.open(url, timeout=timeout) as response:
            return bytes(response.read(MAX_BYTES))
    except urllib.error.HTTPError as refused:
        body = b""
        with refused, contextlib.suppress(OSError, http.client.HTTPException):
            body = refused.read(MAX_BYTES)
        raise Unreachable(f"HTTP {refused.code}", refused.code, body) from None
    except http.client.HTTPException as failure:
        raise Unreachable(f"the response is not HTTP ({type(failure).__name__})") from None
    except OSError as failure:
        cause = failure.reason if isinstance(failure, urllib.error.URLError) else failure
        raise Unreachable(getattr(cause, "strerror", None) or str(cause)) from None


def get_json(url: str, timeout: float) -> Any:
    """Raises `Unreachable`, or ValueError for a response that is not JSON."""
    return json.loads(get(url, timeout))


def post_json(url: str, content: object, timeout: float) -> Any:
    """Raises as `get_json` does."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(content).encode(), headers)
    return json.loads(get(request, timeout))

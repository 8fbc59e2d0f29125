"""The Locust user of the grid: one user stands for one session of each cell."""

from collections.abc import Callable
from typing import Any

from locust import User


class SessionUser(User):
    """Locust spawns, counts and stops it like any other user, but it has no greenlet: the engine runs
    all sessions of the process. The user itself takes the greenlet's place in Locust's group."""

    name = "session"
    dead = False

    def start(self, group: Any) -> Any:
        self._group: Any = group
        self._greenlet: Any = self
        group.add(self)
        return self

    def stop(self, force: bool = False) -> bool:  # noqa: ARG002
        self.kill()
        return True

    @property
    def args(self) -> tuple["SessionUser"]:
        # Locust finds the user of a greenlet by its arguments.
        return (self,)

    def rawlink(self, ended: Callable[[Any], None]) -> None:
        """`kill` removes the user from its group."""

    def unlink(self, ended: Callable[[Any], None]) -> None: ...

    def kill(self, *_: Any, **__: Any) -> None:
        self.dead = True
        self._group.discard(self)

    def join(self, *_: Any) -> None:
        """`kill` takes effect immediately."""

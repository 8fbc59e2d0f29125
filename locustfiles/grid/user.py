"""The Locust user of the grid: one user, one session of each cell."""

from collections.abc import Callable
from typing import Any

from locust import User


class SessionUser(User):
    """Locust spawns, counts and stops it as any user. It has no greenlet: its sessions are run, with
    all others of the process, by the engine; so it is itself what Locust's group of greenlets holds.
    """

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
        """By which Locust finds the user of a greenlet."""
        return (self,)

    def rawlink(self, ended: Callable[[Any], None]) -> None:
        """Its end is told by `kill`."""

    def unlink(self, ended: Callable[[Any], None]) -> None: ...

    def kill(self, *_: Any, **__: Any) -> None:
        self.dead = True
        self._group.discard(self)

    def join(self, *_: Any) -> None:
        """It ends at once."""

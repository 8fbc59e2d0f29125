"""Frees the place of a session once its environment is closed, or does not close."""

import logging
import time

from benchmark.server.engine.environment import OpenEnvironment
from benchmark.server.places import Places

logger = logging.getLogger("uvicorn.error")


class Closing:
    def __init__(self, places: Places, patience: float) -> None:
        """`patience` is in seconds."""
        self._places, self._patience = places, patience
        self._closing: dict[OpenEnvironment, float] = {}
        # Their code does not return, so they keep a thread, but no place.
        self._stuck: set[OpenEnvironment] = set()

    async def close(self, environment: OpenEnvironment) -> None:
        self._closing[environment] = time.monotonic()
        try:
            await environment.close()
        finally:
            del self._closing[environment]
            if environment in self._stuck:
                self._stuck.discard(environment)
                logger.warning("Session %s: its code has returned", environment.session_id)
            else:
                self._places.release()

    def check(self, now: float) -> None:
        """Without a bound, code that never returns would use up the memory of the node."""
        for environment, since in self._closing.items():
            if len(self._stuck) >= self._places.limit:
                break
            waits = environment.given_up or now - since >= self._patience
            if waits and environment not in self._stuck:
                self._stuck.add(environment)
                self._places.release()
                text = (
                    "Session %s is over, but its code is still running %s; its place is free again"
                )
                logger.warning(text, environment.session_id, environment.position)

"""The client of the counting environments, as a package of its own like those of OpenEnv's catalogue."""

from .client import CountingAction, CountingEnv, CountingObservation

__all__ = ["CountingAction", "CountingEnv", "CountingObservation"]

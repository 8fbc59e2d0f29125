"""The status of an experiment, in run.json and experiment.json."""

from enum import StrEnum

from launcher.system.signals import Interrupted


class RunStatus(StrEnum):
    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    KILLED = "killed"

    @classmethod
    def after(cls, failure: BaseException | None) -> "RunStatus":
        """The status of a run that ended with `failure`."""
        if failure is None:
            return cls.COMPLETE
        interrupted = isinstance(failure, (Interrupted, KeyboardInterrupt))
        return cls.INTERRUPTED if interrupted else cls.FAILED

"""Slurm's programs and their output. Only this package calls them."""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from launcher.errors import UsageError
from launcher.system.command import capture, CommandFailed

TIMEOUT_SECONDS = 30.0
# Job states, as in squeue(1).
ACTIVE = {
    *("PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT"),
    *("REQUEUED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT", "RESIZING"),
}
COMPLETING = "COMPLETING"
# For a job that Slurm has forgotten.
UNKNOWN = "UNKNOWN"


class SlurmFailed(CommandFailed):
    @property
    def job_unknown(self) -> bool:
        """Slurm forgets a job some minutes after it ended (MinJobAge)."""
        return "Invalid job id" in self.output


@dataclass(frozen=True)
class Job:
    id: str
    state: str
    reason: str
    nodes: str = ""

    @property
    def active(self) -> bool:
        return self.state in ACTIVE

    @property
    def ended(self) -> bool:
        return not self.active and self.state != COMPLETING

    @property
    def description(self) -> str:
        informative = self.reason not in ("", "None", "NonZeroExitCode")
        return f"{self.state} ({self.reason})" if informative else self.state


def call(argv: Sequence[str]) -> str:
    """The output of a Slurm command. Raises `SlurmFailed`, or `UsageError` if Slurm is not installed."""
    if shutil.which(argv[0]) is None:
        raise UsageError(
            f"Slurm is not installed here: {argv[0]} is not on PATH; run this on a login node of the "
            "cluster, or add --local to use this machine"
        )
    return capture(argv, TIMEOUT_SECONDS, SlurmFailed)


def _ask_about_job(argv: Sequence[str]) -> str:
    """Empty for a job that Slurm has forgotten."""
    try:
        return call(argv)
    except SlurmFailed as failure:
        if not failure.job_unknown:
            raise
        return ""


def hostnames(nodelist: str) -> list[str]:
    return call(("scontrol", "show", "hostnames", nodelist)).split()


def job(job_id: str) -> Job:
    """Raises `SlurmFailed` if Slurm does not answer."""
    return parse_job(job_id, _ask_about_job(("scontrol", "--oneliner", "show", "job", job_id)))


def parse_job(job_id: str, text: str) -> Job:
    # The first component of a heterogeneous job: the launcher runs on it.
    first = text.strip().partition("\n")[0]
    fields = dict(word.split("=", 1) for word in first.split() if "=" in word)
    return Job(
        job_id,
        fields.get("JobState", UNKNOWN),
        fields.get("Reason", ""),
        fields.get("NodeList", ""),
    )


def steps(job_id: str) -> dict[str, str]:
    """The running Slurm steps of a job: name to id."""
    squeue = ("squeue", "--steps", "--noheader", "--jobs", job_id, "--format=%i %j")
    pairs = (line.split(maxsplit=1) for line in _ask_about_job(squeue).splitlines())
    return {pair[1]: pair[0] for pair in pairs if len(pair) == 2}


def node_states(nodes: Iterable[str]) -> dict[str, str]:
    """Node to state with its flags, for example `idle`, `mixed` or `down*`, as in sinfo(1)."""
    selection = f"--nodes={','.join(nodes)}"
    output = call(("sinfo", "--all", "--noheader", "--Node", selection, "--format=%N %T"))
    lines = output.splitlines()
    return {line.split()[0]: line.split()[1] for line in lines}


def submit(argv: Sequence[str]) -> str:
    """The id of the job. `argv` is sbatch with --parsable."""
    return call(argv).strip().splitlines()[-1].partition(";")[0]


def signal_batch(job_id: str, signal: str) -> None:
    """Signals the batch script, not the Slurm steps of the job."""
    cancel(job_id, "--batch", f"--signal={signal}")


def signal_step(step_id: str, signal: str) -> None:
    cancel(step_id, f"--signal={signal}")


def cancel(job_or_step: str, *options: str) -> None:
    try:
        call(("scancel", *options, job_or_step))
    except SlurmFailed as failure:
        # The job or step has ended meanwhile: scancel reports that, or exits without any output.
        if not failure.job_unknown and (failure.output.strip() or failure.code is None):
            raise

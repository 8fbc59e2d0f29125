"""Slurm's programs; nothing else calls them."""

import shlex
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from launcher.errors import LauncherError, UsageError

ANSWER_SECONDS = 30.0
SILENT = "no output"
ACTIVE = {
    *("PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT"),
    *("REQUEUED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT", "RESIZING"),
}
ENDING = "COMPLETING"
UNKNOWN = "UNKNOWN"
"""Slurm forgets a job some minutes after its end."""


class SlurmFailed(LauncherError):
    """A command of Slurm's that failed; the message can be pasted into a shell."""


@dataclass(frozen=True)
class Job:
    """What Slurm says of a job: its state and, where there is one, the reason for it."""

    id: str
    state: str
    reason: str
    nodes: str = ""

    @property
    def active(self) -> bool:
        return self.state in ACTIVE

    @property
    def ended(self) -> bool:
        return not self.active and self.state != ENDING

    @property
    def story(self) -> str:
        known = self.reason not in ("", "None", "NonZeroExitCode")
        return f"{self.state} ({self.reason})" if known else self.state


def call(argv: Sequence[str], text: str | None = None) -> str:
    """What the command prints. Raises `SlurmFailed`, and `UsageError` where there is no Slurm."""
    if shutil.which(argv[0]) is None:
        raise UsageError(
            f"no Slurm here: {argv[0]} is not on PATH; run this on a login node of the cluster, or "
            "add --local to use this machine"
        )
    try:
        done = subprocess.run(
            argv, input=text, capture_output=True, text=True, check=False, timeout=ANSWER_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise SlurmFailed(
            f"Slurm did not answer within {ANSWER_SECONDS:.0f} s: {shlex.join(argv)}; look at it with: "
            "scontrol ping"
        ) from None
    if done.returncode:
        raise SlurmFailed(f"{_last(done.stderr) or SILENT}; the command was: {shlex.join(argv)}")
    return done.stdout


def _last(output: str) -> str:
    """The last line that says something, without the program's name."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("Try ")]
    told = [line for line in lines if "error:" in line] or lines
    return told[-1].removeprefix("sbatch: ").removeprefix("error: ") if told else ""


def hostnames(nodelist: str) -> list[str]:
    return call(("scontrol", "show", "hostnames", nodelist)).split()


def job(job_id: str) -> Job:
    """Raises `SlurmFailed` when Slurm does not answer."""
    try:
        text = call(("scontrol", "--oneliner", "show", "job", job_id))
    except SlurmFailed as failure:
        if "Invalid job id" not in str(failure):
            raise
        return Job(job_id, UNKNOWN, "")
    return parse_job(job_id, text)


def parse_job(job_id: str, text: str) -> Job:
    """Of a heterogeneous job, its first component: it holds the launcher."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    fields = dict(word.split("=", 1) for word in first.split() if "=" in word)
    return Job(
        job_id,
        fields.get("JobState", UNKNOWN),
        fields.get("Reason", ""),
        fields.get("NodeList", ""),
    )


def steps(job_id: str) -> dict[str, str]:
    """The Slurm steps of a job that are running: their ids by their names."""
    try:
        text = call(("squeue", "--steps", "--noheader", "--jobs", job_id, "--format=%i %j"))
    except SlurmFailed as failure:
        if "Invalid job id" not in str(failure):
            raise
        return {}
    pairs = (line.split(maxsplit=1) for line in text.splitlines())
    return {pair[1]: pair[0] for pair in pairs if len(pair) == 2}


def node_states(nodes: Iterable[str]) -> dict[str, str]:
    """As idle, mixed or down, with Slurm's flags as `sinfo` prints them."""
    wanted = f"--nodes={','.join(nodes)}"
    lines = call(("sinfo", "--all", "--noheader", "--Node", wanted, "--format=%N %T")).splitlines()
    return {line.split()[0]: line.split()[1] for line in lines}


def submit(argv: Sequence[str]) -> str:
    """The id of the job. `argv` is that of sbatch with --parsable."""
    return call(argv).strip().splitlines()[-1].partition(";")[0]


def signal_batch(job_id: str, signal: str) -> None:
    """To the batch script alone."""
    _scancel("--batch", f"--signal={signal}", job_id)


def signal_step(step_id: str, signal: str) -> None:
    _scancel(f"--signal={signal}", step_id)


def cancel(job_or_step: str) -> None:
    _scancel(job_or_step)


def _scancel(*argv: str) -> None:
    """Passes over what has ended meanwhile: scancel says so, or fails without a word when it ends at
    that very moment. Whoever waits for its end sees whether it does."""
    try:
        call(("scancel", *argv))
    except SlurmFailed as failure:
        if not any(text in str(failure) for text in ("Invalid job id", SILENT)):
            raise

from pathlib import Path

from launcher.deployment.paths import RunDir
from launcher.deployment.spec import Deployment, SLURM_OPTIONS


def sbatch_argv(deployment: Deployment, rundir: RunDir) -> tuple[str, ...]:
    """A job that Slurm never requeues, and that keeps running when one of its nodes fails."""
    return (
        *("sbatch", "--parsable", f"--job-name=openenv-{deployment.name}"),
        f"--nodes={deployment.nodes + deployment.client_nodes}",
        *("--ntasks-per-node=1", "--no-requeue", "--no-kill", "--open-mode=append"),
        f"--chdir={Path.cwd()}",
        # A percent sign starts a pattern in a file name (sbatch(1)).
        f"--output={str(rundir.batch_log).replace('%', '%%')}",
        *resource_options(deployment),
        *deployment.sbatch,
        str(rundir.job_script),
    )


def resource_options(deployment: Deployment, **defaults: str) -> list[str]:
    """The deployment's options of sbatch and salloc; `defaults` are for those that it leaves open."""
    values = {name: getattr(deployment, name) for name in SLURM_OPTIONS}
    values |= {name: value for name, value in defaults.items() if not values[name]}
    values["gpus_per_node"] = deployment.gpus
    return [f"--{n.replace('_', '-')}={value}" for n, value in values.items() if value is not None]

"""Decides, places, starts, watches and stops deployments of OpenEnv environment servers."""


def __getattr__(name: str) -> str:
    """`__version__`, looked up on first use, so that agents start quickly on every node."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version

    return version("openenv-slurm")

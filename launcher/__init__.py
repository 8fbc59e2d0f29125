"""Decides, places, starts, watches and stops deployments of OpenEnv environment servers."""

from importlib.metadata import version

__version__ = version("openenv-slurm")

"""Samples of every node while an experiment runs."""

from launcher.sampling.sampler import Sampler

__all__ = ["Sampler"]

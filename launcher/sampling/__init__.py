"""Samples of every node while an experiment runs."""

from launcher.sampling.sampler import Sampler, SAMPLES

__all__ = ["SAMPLES", "Sampler"]

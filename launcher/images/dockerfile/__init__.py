"""Dockerfiles: their instructions, words and stages."""

from launcher.images.dockerfile.instructions import read
from launcher.images.dockerfile.stages import stages

__all__ = ["read", "stages"]

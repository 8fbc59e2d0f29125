"""Slurm: its programs, its allocations, and what we run on its nodes."""

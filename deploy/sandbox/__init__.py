"""A Slurm cluster without a cluster: real daemons on virtual nodes of one machine.

Standard library only; `python3 deploy/sandbox --help`.
"""

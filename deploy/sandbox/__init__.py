"""A virtual Slurm cluster: real daemons on virtual nodes of one machine.

Needs only the standard library. Run `python3 deploy/sandbox --help`.
"""

"""Where processes run: this machine now; the nodes of a Slurm allocation by the same protocol."""

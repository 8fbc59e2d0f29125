from launcher.slurm.allocation import Allocation, Component

PLAIN = Allocation("7", (Component(("n1", "n2", "n3"), (4, 4, 2)),))
HETEROGENEOUS = Allocation(
    "7", (Component(("a1",), (8,), "7"), Component(("b1", "b2"), (2, 3), "8"))
)

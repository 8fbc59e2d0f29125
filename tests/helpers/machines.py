"""A machine that can run a deployment."""

from launcher.system.machine import Machine

GIB = 1 << 30


GOOD = Machine(
    descriptors=20_000,
    descriptors_soft=1024,
    processes=100_000,
    first_port=32768,
    last_port=60999,
    somaxconn=4096,
    syn_backlog=2048,
    syncookies=True,
    memory=64 * GIB,
    memory_available=60 * GIB,
    memory_limit=None,
    python="3.13.5",
    launcher="0.1.0",
)

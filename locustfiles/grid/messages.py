"""Messages between the grid's master and its load workers, on Locust's own connection."""

CLOCK = "openenv_clock"  # load worker → master and back: what time is it there
HELLO = "openenv_hello"  # load worker → master: its name, and how far its clock is ahead
CELL = "openenv_cell"  # master → load worker: run these sessions
RELEASE = "openenv_release"  # master → load worker: all are open, step
ROWS = "openenv_rows"  # load worker → master: rows that are done, and how it fares

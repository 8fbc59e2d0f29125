"""Messages between the grid's master and its load workers, on Locust's own connection."""

HELLO = "openenv_hello"  # load worker → master: its name
CELL = "openenv_cell"  # master → load worker: run these sessions, now
ROWS = "openenv_rows"  # load worker → master: rows that are done, and how many sessions are open

"""The names of the messages between the master and its load workers, sent through Locust."""

CLOCK = "openenv_clock"  # load worker → master and back: requests and returns the time
HELLO = "openenv_hello"  # load worker → master: its name and its clock offset
CELL = "openenv_cell"  # master → load worker: run these sessions
RELEASE = "openenv_release"  # master → load worker: all sessions are open; start stepping
ROWS = "openenv_rows"  # load worker → master: finished rows and facts about the process

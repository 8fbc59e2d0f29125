"""The labels of the images that are built here."""

TITLE = "org.opencontainers.image.title"
SOURCES = "openenv-slurm.sources"
# What the image of an environment serves: its app, the folder of its command, and that command.
APP, FOLDER, COMMAND = "openenv-slurm.app", "openenv-slurm.folder", "openenv-slurm.command"

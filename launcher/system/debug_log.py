"""Logs commands for --debug."""

import logging
import re
import shlex
from collections.abc import Sequence

SECRET = "token|secret|passw|credential|api_?key"
ASSIGNMENT = re.compile(rf"(.*?(?:{SECRET})[^=]*)=.*", re.IGNORECASE | re.DOTALL)
FLAG = re.compile(rf"-[^=]*(?:{SECRET})[^=]*", re.IGNORECASE)
CREDENTIALS = re.compile(r"://[^/@\s]+@")


def log_command(module: str, argv: Sequence[str]) -> None:
    logger = logging.getLogger(module)
    if logger.isEnabledFor(logging.DEBUG):
        logger.debug("running: %s", shlex.join(redacted(argv)))


def redacted(argv: Sequence[str]) -> list[str]:
    """The argv without the values of options and variables that are named like secrets, and without
    the credentials in URLs."""
    words, hidden = [], False
    for word in argv:
        shown = "***" if hidden else ASSIGNMENT.sub(r"\1=***", word)
        words.append(CREDENTIALS.sub("://***@", shown))
        hidden = FLAG.fullmatch(word) is not None
    return words

"""Errors in results, each with a one-line message for the user."""


class ResultsError(Exception):
    """The message names the file or cell, what is wrong with it, and what to do."""

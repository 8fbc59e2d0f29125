"""What is wrong with results, in one line for whoever reads them."""


class ResultsError(Exception):
    """Says which file or cell, what is wrong with it, and what to do."""

"""Rows → summary → the rest of a result. Pure functions over files and tables."""

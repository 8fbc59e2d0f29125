"""The benchmark environment and its server."""

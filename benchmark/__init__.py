"""The benchmark environment and the server that serves it."""

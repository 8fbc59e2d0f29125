class LineSplitter:
    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that the chunk completes, without their newlines."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return lines

"""A pseudo-terminal for a command inside a node, connected to the terminal of this process."""

import contextlib
import fcntl
import os
import signal
import termios
import tty
from collections.abc import Iterator


class Terminal:
    """Opened inside the node for the user with this id. `take` gives it to the calling child."""

    def __init__(self, user: int) -> None:
        self._outer, self._inner = os.openpty()
        os.fchown(self._inner, user, -1)
        self._resize()

    def take(self) -> None:
        os.close(self._outer)
        os.login_tty(self._inner)

    @contextlib.contextmanager
    def shown(self) -> Iterator[dict[int, int]]:
        """The descriptors to copy between, from each key to its value, with this terminal in raw mode."""
        os.close(self._inner)
        signal.signal(signal.SIGWINCH, lambda *_: self._resize())
        before = termios.tcgetattr(0)
        tty.setraw(0, termios.TCSADRAIN)  # keeps input that was typed ahead
        try:
            yield {0: self._outer, self._outer: 1}
        finally:
            with contextlib.suppress(termios.error):  # it may be closed
                termios.tcsetattr(0, termios.TCSADRAIN, before)

    def _resize(self) -> None:
        size = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
        fcntl.ioctl(self._outer, termios.TIOCSWINSZ, size)

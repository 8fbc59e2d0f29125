"""A terminal of its own for a command inside a node, shown on the one of this process."""

import contextlib
import fcntl
import os
import signal
import termios
import tty
from collections.abc import Iterator


class Terminal:
    """Made inside the node, for the user with this number; `take` makes it a child's."""

    def __init__(self, user: int) -> None:
        self._outer, self._inner = os.openpty()
        os.fchown(self._inner, user, -1)
        self._resize()

    def take(self) -> None:
        os.close(self._outer)
        os.login_tty(self._inner)

    @contextlib.contextmanager
    def shown(self) -> Iterator[dict[int, int]]:
        """What is to be copied from where to where, key by key, within this."""
        os.close(self._inner)
        signal.signal(signal.SIGWINCH, lambda *_: self._resize())
        before = termios.tcgetattr(0)
        tty.setraw(0, termios.TCSADRAIN)  # keeps what was typed ahead
        try:
            yield {0: self._outer, self._outer: 1}
        finally:
            with contextlib.suppress(termios.error):  # it may be gone
                termios.tcsetattr(0, termios.TCSADRAIN, before)

    def _resize(self) -> None:
        size = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
        fcntl.ioctl(self._outer, termios.TIOCSWINSZ, size)

import os
import selectors
import signal
import threading

import pytest

from launcher.system.signals import Interrupted, interruptible, Signals, WakeupPipe


def test_a_wakeup_pipe_ends_a_select_from_another_thread() -> None:
    pipe = WakeupPipe()
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        assert selector.select(0) == []
        thread = threading.Thread(target=pipe.wake)
        thread.start()
        assert selector.select(10) != []
        thread.join()
        assert pipe.drain() == b"\0"
        assert selector.select(0) == []
    pipe.close()


def test_drain_does_not_wait() -> None:
    pipe = WakeupPipe()
    assert pipe.drain() == b""
    pipe.close()


def test_wake_does_not_wait_when_the_pipe_is_full() -> None:
    pipe = WakeupPipe()
    for _ in range(1 << 17):
        pipe.wake()
    assert len(pipe.drain()) == 4096
    pipe.close()


def test_caught_signals_are_in_the_pipe_and_their_handlers_are_restored() -> None:
    pipe, caught = WakeupPipe(), list[int]()
    previous = signal.getsignal(signal.SIGUSR1)
    restore = pipe.catch([signal.SIGUSR1], lambda number, _: caught.append(number))
    os.kill(os.getpid(), signal.SIGUSR1)
    assert (pipe.drain(), caught) == (bytes([signal.SIGUSR1]), [signal.SIGUSR1])
    restore()
    assert signal.getsignal(signal.SIGUSR1) is previous
    assert signal.set_wakeup_fd(-1) == -1
    pipe.close()


def test_interruptible_raises_until_it_is_told_to_ignore() -> None:
    with interruptible() as ignore:
        with pytest.raises(Interrupted, match="SIGTERM") as interrupted:
            os.kill(os.getpid(), signal.SIGTERM)
        assert interrupted.value.number == signal.SIGTERM
        ignore()
        os.kill(os.getpid(), signal.SIGTERM)


def test_signals_wake_the_selector_and_are_raised_by_check_in_order() -> None:
    with selectors.DefaultSelector() as selector, Signals(selector) as signals:
        signals.check()
        for number in (signal.SIGHUP, signal.SIGINT):
            os.kill(os.getpid(), number)
        assert [key.data for key, _ in selector.select(0)] == [None]
        for name in ("SIGHUP", "SIGINT"):
            with pytest.raises(Interrupted, match=name):
                signals.check()
        signals.check()
        assert selector.select(0) == []

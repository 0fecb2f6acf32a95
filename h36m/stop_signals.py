"""Signals that stop a process: handle them, defer them, send one to its main thread."""

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

# Ctrl-C, a batch system's stop, a closed terminal.
STOP_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

# Time for the destructor to return; a user does not notice it.
SECONDS_BEFORE_REPEATING = 0.05


def send_to_main_thread(number: int) -> None:
    """Send a signal to this process so that its main thread wakes if it sleeps.

    On Windows only SIGINT wakes a main thread that sleeps; another signal is handled when its sleep ends.

    Args:
        number: of the signal.
    """
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident, number)  # type: ignore[arg-type]  # it has started
    else:
        signal.raise_signal(number)


@contextlib.contextmanager
def deferred_stops() -> Iterator[None]:
    """Handle the signals that stop this process at the end of the block; for the main thread, and for short blocks.

    Blocking them would not do: another thread would accept them, and Python runs every handler in the main thread.
    """
    arrived: list[int] = []
    handlers = {each: signal.signal(each, lambda number, _: arrived.append(number)) for each in STOP_SIGNALS}
    try:
        yield
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)
        for each in arrived:
            signal.raise_signal(each)


def stop_on_signals(numbers: list[int], end_by: Callable[[int], BaseException | None]) -> Callable[[int], None]:
    """Have signals stop this process by an exception in its main thread.

    A handler runs wherever the main thread is. In a destructor or a callback of a weak reference Python prints its
    exception as "Exception ignored" and goes on, so the stop would be lost: it is sent again. In a constructor it
    leaves a half-made object, whose destructor may fail: what Python would print about that is not printed.
    Source: https://docs.python.org/3/library/sys.html#sys.unraisablehook

    Args:
        numbers: of the signals.
        end_by: returns the exception to raise for a signal, a KeyboardInterrupt or SystemExit; None ignores the signal.

    Returns:
        A function for another thread, which sends a signal to the main thread until its exception is raised there.
    """
    print_dropped, is_stopping, is_raised = sys.unraisablehook, False, False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal is_stopping, is_raised
        while frame:
            if frame.f_code is repeat_or_print.__code__:  # Python drops its exceptions too; the stop is sent again
                return
            frame = frame.f_back
        if error := end_by(number):
            is_stopping = is_raised = True
            raise error

    def handle_all() -> None:
        for each in numbers:
            signal.signal(each, handle)

    def send_until_raised(number: int) -> None:
        while True:  # a signal that arrives just before a system call does not interrupt it, the next one does
            send_to_main_thread(number)
            time.sleep(SECONDS_BEFORE_REPEATING)
            if is_raised:
                return

    def repeat_or_print(dropped) -> None:
        nonlocal is_raised
        if issubclass(dropped.exc_type, (KeyboardInterrupt, SystemExit)):
            is_raised = False
            handle_all()  # a stop may have made this process ignore the next ones
            # Sent from here, it would only be ignored: see handle().
            timer = threading.Timer(SECONDS_BEFORE_REPEATING, send_until_raised, [signal.SIGTERM])
            timer.daemon = True
            timer.start()
        elif not is_stopping:
            print_dropped(dropped)

    handle_all()
    sys.unraisablehook = repeat_or_print
    return send_until_raised

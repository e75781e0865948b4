"""Ctrl-C and SIGTERM as a request that the training loop answers between two steps."""

import os
import signal


class StopRequest:
    """Becomes true at the first SIGINT or SIGTERM; a second one leaves at once with status 130.

    A context manager: the handlers that were there before come back at its end.
    """

    signals = (signal.SIGINT, signal.SIGTERM)

    def __init__(self):
        self.requested = False

    def __enter__(self) -> "StopRequest":
        self.before = {number: signal.signal(number, self.handle) for number in self.signals}
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def __bool__(self) -> bool:
        return self.requested

    def handle(self, number, frame) -> None:
        if self.requested:
            os._exit(128 + signal.SIGINT)
        self.requested = True

"""What a process holds in memory, for the other benchmarks (Linux)."""

from __future__ import annotations

import threading


def status(name: str) -> int:
    """A size from this process's status in bytes: VmHWM (the peak), RssAnon, RssFile and others."""
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    raise SystemExit(f"The system does not say {name}: this benchmark needs Linux.")


class Peaks(threading.Thread):
    """The largest RssAnon and RssFile while a `with` lasts, looked at 20 times a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.anonymous = self.file = 0
        self._done = threading.Event()

    def run(self) -> None:
        """Looks until told to stop."""
        while not self._done.wait(0.05):
            self._look()

    def _look(self) -> None:
        self.anonymous = max(self.anonymous, status("RssAnon"))
        self.file = max(self.file, status("RssFile"))

    def __enter__(self) -> Peaks:
        self._look()
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self.join()
        self._look()

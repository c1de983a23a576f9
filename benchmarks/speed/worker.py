"""One measuring process: `python -m benchmarks.speed.worker SPEC`, see `protocol`."""

from __future__ import annotations

import importlib
import json
import sys

from benchmarks.speed import protocol


def main(spec: str) -> None:
    """Measures what `{"module": ..., "function": ..., SETTING: ...}` asks for."""
    settings = json.loads(spec)
    module, function = settings.pop("module"), settings.pop("function")

    def prepare():
        return getattr(importlib.import_module(f"benchmarks.speed.{module}"), function)(**settings)

    protocol.serve(prepare)


if __name__ == "__main__":
    main(sys.argv[1])

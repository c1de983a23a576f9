"""With which network the tests of this package run."""

from __future__ import annotations

from tests.training import one_block


def pytest_runtest_setup(item):
    """After `tests/conftest.py`, and before any fixture: of one block, unless it is `whole`."""
    if item.get_closest_marker("whole") is None:
        one_block.install()

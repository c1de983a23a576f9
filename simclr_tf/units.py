"""Numbers as people read them."""

from __future__ import annotations

import math


def format_duration(seconds: float) -> str:
    """Seconds as `8.4 s`, `1 min 05 s` or `2 h 07 min`; `?` where they are unknown."""
    if not math.isfinite(seconds) or seconds < 0:
        return "?"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def format_percent(share: float) -> str:
    """A share in [0, 1] as `56.2 %`."""
    return f"{100 * share:.1f} %"


def format_count(number: int, noun: str) -> str:
    """How many: `1 image`, `2,000 images`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def format_bytes(count: int) -> str:
    """A size as `0.12 MB`, `15 MB` or `2.3 GB`, of powers of ten."""
    size, unit = (count / 1e9, "GB") if count >= 999.5e6 else (count / 1e6, "MB")
    return f"{size:.{0 if size >= 9.95 else 1 if size >= 0.995 else 2}f} {unit}"


def format_rate(per_second: float) -> str:
    """A rate as `3.42`, `81.5` or `1240`."""
    if not math.isfinite(per_second):
        return "?"
    digits = 2 if per_second < 9.995 else 1 if per_second < 99.95 else 0
    return f"{per_second:.{digits}f}"

"""Bytes and seconds in words."""

GIB = 2**30


def format_duration(seconds: float) -> str:
    """Say a duration in the unit that a person would use.

    Args:
        seconds: 0 or more.

    Returns:
        "48 s", "12 min", "3.5 h" or "2.1 days".
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"


def format_bytes(count: int) -> str:
    """Say a size in the unit that a person would use.

    Args:
        count: Bytes.

    Returns:
        "512 kB", "1.4 MB" or "15.9 GiB".
    """
    if count < 1e6:
        return f"{count / 1e3:.0f} kB"
    if count < 1e9:
        return f"{count / 1e6:.1f} MB"
    return f"{count / GIB:.1f} GiB"

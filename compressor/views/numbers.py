"""How numbers are written for people: millions, GMAC/s, MB, ms."""


def millions(count: float) -> str:
    return f"{count / 1e6:.2f} M"


def giga_macs(macs_per_s: float) -> str:
    return f"{macs_per_s / 1e9:.2f} GMAC/s"


def megabytes(size_bytes: float) -> str:
    return f"{size_bytes / 1e6:.1f} MB"


def fitting(size_bytes: float) -> str:
    """A size in the unit that fits: 310 kB, 1.25 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        # What would be written as 1000 belongs to the next unit.
        if size_bytes < 999.5:
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.0f} TB"


def milliseconds(value: float | None) -> str:
    return "whole recording" if value is None else f"{value:g} ms"

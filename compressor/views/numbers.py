"""How numbers are written for people: millions, GMAC/s, MB, ms."""


def millions(count: float) -> str:
    return f"{count / 1e6:.2f} M"


def giga_macs(macs_per_s: float) -> str:
    return f"{macs_per_s / 1e9:.2f} GMAC/s"


def megabytes(size_bytes: float) -> str:
    return f"{size_bytes / 1e6:.1f} MB"


def milliseconds(value: float | None) -> str:
    return "whole recording" if value is None else f"{value:g} ms"

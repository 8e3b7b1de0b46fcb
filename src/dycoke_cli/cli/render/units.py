"""Numbers as people read them."""

from __future__ import annotations


def count(value: float) -> str:
    """1234.0 as 1,234; a mean that isn't whole keeps one digit."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def size(value: float) -> str:
    """Bytes in the unit that leaves one to three digits before the point (powers of 1000)."""
    return _scaled(value, ("B", "kB", "MB", "GB", "TB"))


def flops(value: float) -> str:
    """FLOPs in the unit that leaves one to three digits before the point."""
    return _scaled(value, ("", "k", "M", "G", "T", "P")).rstrip()


def seconds(value: float) -> str:
    """A duration; small ones in milliseconds."""
    if value < 0.0995:
        return f"{value * 1000:.0f} ms"
    return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"


def share(part: float, whole: float) -> str:
    """`part` of `whole` in percent."""
    return f"{100 * part / whole:.0f} %" if whole else "–"


def _scaled(value: float, units: tuple[str, ...]) -> str:
    index = 0
    while abs(value) >= 999.5 and index < len(units) - 1:
        value /= 1000
        index += 1
    digits = f"{value:.0f}" if index == 0 or value >= 99.95 else f"{value:.3g}"
    return f"{digits} {units[index]}"

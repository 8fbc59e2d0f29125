"""How a report formats numbers, lists and timestamps."""

from math import isinf, isnan
from typing import Any


def count(number: float) -> str:
    """3072 → 3,072; 0.5 → 0.5."""
    return f"{number:,.0f}" if number == int(number) else f"{number:,.6g}"


def percent(share: float) -> str:
    """0.953 → 95.3 %. Only 1 is 100 %, and only 0 is 0 %."""
    if isnan(share):
        return "–"
    if share in (0, 1):
        return f"{100 * share:.0f} %"
    text = f"{100 * share:.1f}"
    if text == "100.0" and share < 1:
        return "> 99.9 %"
    return "< 0.1 %" if text == "0.0" else f"{text} %"


def seconds(value: float) -> str:
    """Three significant digits; a dash for NaN and infinity."""
    if isnan(value) or isinf(value):
        return "–"
    return f"{value:,.0f} s" if value >= 100 else f"{value:.3g} s"


def listed(words: list[str], limit: int = 6) -> str:
    if len(words) > limit:
        return f"{', '.join(words[:limit])} and {len(words) - limit} more"
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def span(low: float, high: float) -> str:
    return f"{count(round(low))}–{count(round(high))}"


def known(value: Any) -> bool:
    return not (value is None or value == "" or (isinstance(value, float) and isnan(value)))


def plural(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def text_of(value: Any) -> str:
    return str(value) if known(value) else ""


def timestamp(value: Any) -> str:
    return f"{str(value)[:19]}Z" if value else "unknown"


def shown(value: Any, spec: str, missing: str = "–") -> str:
    return format(value, spec) if known(value) else missing

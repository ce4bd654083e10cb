"""Where one window ends and the next begins: by count, or by time. Rows are taken in the order of the log.

A window never changes once it is complete: a row that comes late falls into the window that is open then.
"""

from collections import Counter, deque
from datetime import UTC, datetime, time, timedelta
from statistics import median_low

LAST_WINDOW = 9999  # windows have four digits
RECENT = 11  # requests whose median tells the time: a few clocks that are wrong, five in a row at most, close nothing


class CountCut:
    """The k-th window of a language is its k-th ``rows`` requests."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._counts: Counter[str] = Counter()

    def number(self, language: str, moment: str) -> int:
        """Take the next request; return the number of its window, counted from 1."""
        self._counts[language] += 1
        return (self._counts[language] - 1) // self._rows + 1

    def complete(self, language: str) -> int:
        """Return the number of the language's last complete window; 0 for none."""
        return self._counts[language] // self._rows


class TimeCut:
    """All languages share windows of ``hours``; the first starts at midnight UTC of the first request's day.

    A window is complete when more than half of the last ``RECENT`` requests, of whatever language, are of later ones.
    """

    def __init__(self, hours: float) -> None:
        self._span = timedelta(hours=hours)
        self._start: datetime | None = None
        self._recent: deque[int] = deque(maxlen=RECENT)
        self._open = 1

    def number(self, language: str, moment: str) -> int:
        """Take the next request (``moment``: ISO 8601 with zone); return the number of its window.

        Raises
        ------
        ValueError
            If the time lies so far ahead that no window has a name for it.
        """
        asked = datetime.fromisoformat(moment)
        if self._start is None:
            self._start = datetime.combine(asked.astimezone(UTC).date(), time(), UTC)
        own = (asked - self._start) // self._span + 1
        if own > LAST_WINDOW:
            raise ValueError(f"time {moment} lies {own} windows after the first request, at most {LAST_WINDOW}")
        number = max(self._open, own)
        self._recent.append(own)
        self._open = max(self._open, median_low(self._recent))
        return number

    def complete(self, language: str) -> int:
        """Return the number of the last complete window; 0 for none."""
        return self._open - 1


Cut = CountCut | TimeCut

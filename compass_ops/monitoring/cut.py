"""Where one window ends and the next begins: by count, or by time. Rows are taken in the order of the log.

A window never changes once it is complete: a row that comes late falls into the window that is open then.
"""

from collections import Counter, deque
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from statistics import median_low

LAST_WINDOW = 9999  # windows have four digits
RECENT = 11  # requests whose median tells the time: up to five of them with a wrong clock move nothing


class CountCut:
    """The k-th window of a language is its k-th ``rows`` requests."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._counts: Counter[str] = Counter()

    def see(self, moment: datetime) -> None:
        """Time means nothing here."""

    def number(self, language: str, moment: datetime) -> int:
        """Take the next request; return the number of its window, counted from 1.

        Raises
        ------
        ValueError
            If it lies behind the last window that has a name.
        """
        if self._counts[language] == LAST_WINDOW * self._rows:
            raise ValueError(
                f"{LAST_WINDOW} windows of {self._rows} requests of {language} are full. Raise traffic.window_rows, or "
                "begin a new log"
            )
        self._counts[language] += 1
        return (self._counts[language] - 1) // self._rows + 1

    def complete(self, language: str) -> int:
        """Return the number of the language's last complete window; 0 for none."""
        return self._counts[language] // self._rows


class TimeCut:
    """All languages share windows of ``hours``.

    The first starts at midnight UTC of the median day of the first ``RECENT`` rows (``first``: their times; what was
    asked before belongs to it too). A window is complete when of the last ``RECENT`` rows most are of later ones.
    """

    def __init__(self, hours: float, first: Sequence[datetime]) -> None:
        self._span = timedelta(hours=hours)
        day = median_low(first).astimezone(UTC).date() if first else datetime.min.date()
        self._start = datetime.combine(day, time(), UTC)
        self._recent: deque[int] = deque(maxlen=RECENT)
        self._open = 1

    def see(self, moment: datetime) -> None:
        """Let a row of the log tell the time, also one that is no request: windows do not depend on the languages."""
        if (own := self._own(moment)) <= LAST_WINDOW:
            self._recent.append(own)
        if len(self._recent) == RECENT:
            self._open = max(self._open, median_low(self._recent))

    def number(self, language: str, moment: datetime) -> int:
        """Return the number of the window of the request that was seen last.

        Raises
        ------
        ValueError
            If its time lies so far ahead that no window has a name for it.
        """
        own = self._own(moment)
        if own > LAST_WINDOW:
            raise ValueError(
                f"time {moment.isoformat()} lies {own} windows after the log's first, at most {LAST_WINDOW}"
            )
        return max(self._open, own)

    def complete(self, language: str) -> int:
        """Return the number of the last complete window; 0 for none."""
        return self._open - 1

    def _own(self, moment: datetime) -> int:
        return (moment - self._start) // self._span + 1


Cut = CountCut | TimeCut

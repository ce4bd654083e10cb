"""Windows by count and by time: where they end, what is late, and what wrong clocks do."""

from datetime import UTC, datetime, timedelta

import pytest

from compass_ops.monitoring.cut import CountCut, TimeCut

DAY = datetime(2026, 1, 1, 9, tzinfo=UTC)
AHEAD = DAY + timedelta(days=364)


def days(*numbers: int) -> list[datetime]:
    """Times on the numbered days, from 1."""
    return [DAY + timedelta(days=number - 1) for number in numbers]


def numbers(cut: TimeCut, moments: list[datetime]) -> list[int]:
    found = []
    for moment in moments:
        cut.see(moment)
        found.append(cut.number("sw", moment))
    return found


def test_counts_are_by_language() -> None:
    cut = CountCut(2)
    asked = ["sw", "id", "sw", "sw", "id"]
    assert [cut.number(language, DAY) for language in asked] == [1, 1, 1, 2, 1]
    assert (cut.complete("sw"), cut.complete("id"), cut.complete("ca")) == (1, 1, 0)


def test_no_window_by_count_is_without_a_name() -> None:
    cut = CountCut(1)
    assert [cut.number("sw", DAY) for _ in range(9999)][-1] == 9999
    with pytest.raises(ValueError, match=r"9999 windows of 1 requests of sw are full. Raise traffic.window_rows"):
        cut.number("sw", DAY)
    assert (cut.complete("sw"), cut.number("id", DAY)) == (9999, 1)


def test_time_starts_at_midnight_and_never_goes_back() -> None:
    cut = TimeCut(24, days(*[1] * 11))
    evening, midnight = DAY.replace(hour=23), DAY.replace(hour=0) + timedelta(days=1)
    assert numbers(cut, [*[evening] * 6, *[midnight] * 5, evening]) == [1] * 6 + [2] * 5 + [1]
    assert cut.complete("sw") == 0, "half of the last eleven are of the first day"
    assert numbers(cut, [midnight, evening]) == [2, 2]
    assert cut.complete("sw") == cut.complete("id") == 1, "a window ends for all languages at once"


def test_hours_may_be_broken() -> None:
    cut = TimeCut(0.5, [DAY])
    assert numbers(cut, [DAY + timedelta(minutes=minute) for minute in (10, 30, 59)]) == [19, 20, 20]


def test_five_clocks_far_ahead_close_no_window_and_a_sixth_does() -> None:
    cut = TimeCut(24, days(*[1] * 11))
    numbers(cut, days(*[1] * 11))
    assert numbers(cut, [AHEAD] * 5) == [365] * 5, "they wait for their time"
    assert cut.complete("sw") == 0
    assert numbers(cut, days(1)) == [1]
    numbers(cut, [AHEAD])
    assert (cut.complete("sw"), numbers(cut, days(1))) == (364, [365])


@pytest.mark.parametrize("wrong", [AHEAD, datetime(1970, 1, 1, tzinfo=UTC)])
def test_wrong_clocks_at_the_log_s_start_move_nothing(wrong: datetime) -> None:
    log = [*[wrong] * 5, *days(*[1] * 8, *[2] * 8)]
    cut = TimeCut(24, log[:11])
    assert numbers(cut, log)[5:] == [1] * 8 + [2] * 8
    assert cut.complete("sw") == 1


def test_nothing_is_complete_before_eleven_requests() -> None:
    cut = TimeCut(24, days(1, *[2] * 9))
    numbers(cut, days(1, *[2] * 9))
    assert cut.complete("sw") == 0, "where the first window begins is not settled"


def test_a_time_beyond_all_names_is_refused_and_changes_nothing() -> None:
    cut = TimeCut(1, [DAY])
    with pytest.raises(ValueError, match="at most 9999"):
        numbers(cut, [DAY.replace(year=2126)])
    assert numbers(cut, [DAY]) == [10]


def test_nothing_is_complete_before_the_first_request() -> None:
    assert TimeCut(1, []).complete("sw") == CountCut(1).complete("sw") == 0

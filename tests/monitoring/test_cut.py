import pytest

from compass_ops.monitoring.cut import CountCut, TimeCut

EVENING, MIDNIGHT = "2026-01-01T23:00:00+00:00", "2026-01-02T00:00:00+00:00"


def test_counts_are_by_language() -> None:
    cut = CountCut(2)
    asked = ["sw", "id", "sw", "sw", "id"]
    assert [cut.number(language, "") for language in asked] == [1, 1, 1, 2, 1]
    assert (cut.complete("sw"), cut.complete("id"), cut.complete("ca")) == (1, 1, 0)


def test_time_starts_at_midnight_of_the_first_day_and_never_goes_back() -> None:
    cut = TimeCut(24)
    assert [cut.number("sw", day) for day in (*[EVENING] * 6, *[MIDNIGHT] * 5, EVENING)] == [1] * 6 + [2] * 5 + [1]
    assert cut.complete("sw") == 0, "half of the last eleven are of the first day"
    assert [cut.number("id", day) for day in (MIDNIGHT, EVENING)] == [2, 2]
    assert cut.complete("sw") == cut.complete("id") == 1, "a window ends for all languages at once"


def test_five_clocks_far_ahead_close_no_window_and_a_sixth_does() -> None:
    cut = TimeCut(24)
    for _ in range(11):
        cut.number("sw", EVENING)
    ahead = "2026-12-31T00:00:00+00:00"
    assert [cut.number("sw", ahead) for _ in range(5)] == [365] * 5, "they wait for their time"
    assert (cut.complete("sw"), cut.number("id", EVENING)) == (0, 1)
    cut.number("sw", ahead)
    assert (cut.complete("sw"), cut.number("id", EVENING)) == (364, 365)


def test_hours_may_be_broken() -> None:
    cut = TimeCut(0.5)
    assert [cut.number("sw", f"2026-01-01T00:{minute}:00+00:00") for minute in (10, 30, 59)] == [1, 2, 2]


def test_a_time_beyond_all_names_is_refused_and_changes_nothing() -> None:
    cut = TimeCut(1)
    cut.number("sw", "2026-01-01T00:10:00+00:00")
    with pytest.raises(ValueError, match="at most 9999"):
        cut.number("sw", "2126-01-01T00:10:00+00:00")
    assert cut.number("sw", "2026-01-01T00:20:00+00:00") == 1


def test_nothing_is_complete_before_the_first_request() -> None:
    assert TimeCut(1).complete("sw") == CountCut(1).complete("sw") == 0

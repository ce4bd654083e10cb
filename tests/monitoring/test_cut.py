import pytest

from compass_ops.monitoring.cut import CountCut, TimeCut


def test_counts_are_by_language() -> None:
    cut = CountCut(2)
    asked = ["sw", "id", "sw", "sw", "id"]
    assert [cut.number(language, "") for language in asked] == [1, 1, 1, 2, 1]
    assert (cut.complete("sw"), cut.complete("id"), cut.complete("ca")) == (1, 1, 0)


def test_time_starts_at_midnight_of_the_first_day_and_never_goes_back() -> None:
    cut = TimeCut(24)
    moments = ["2026-01-01T23:00:00+00:00", "2026-01-02T00:00:00+00:00", "2026-01-01T23:30:00+00:00"]
    assert [cut.number("sw", moment) for moment in moments] == [1, 2, 2]
    assert cut.complete("sw") == cut.complete("id") == 1, "a window ends for all languages at once"


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

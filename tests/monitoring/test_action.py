import pytest

from compass_ops.monitoring.action import CANDIDATE, LOG, NONE, PAGE, WAIT, respond
from compass_ops.monitoring.harm import Harm, HarmSettings

REQUIRED = HarmSettings(required=True, alpha=0.05, floor_nats=0.1, least_items=10, uncovered_share=0.2, cool_down=2)
SHOWN = Harm("feedback", 1.0, 2.0, low=0.8, high=1.2, level=0.05, floor=0.1, n=40, effective_n=33.0)
NOT_SHOWN = Harm("dev items", 1.0, 1.2, low=-0.1, high=0.5, level=0.05, floor=0.1, n=40, effective_n=33.0)


@pytest.mark.parametrize(
    ("verdict", "harm", "since", "action"),
    [
        ("drift", SHOWN, None, CANDIDATE),
        ("drift", NOT_SHOWN, None, LOG),
        ("drift", "no labels", None, CANDIDATE),
        ("drift", SHOWN, 2, WAIT),
        ("drift", SHOWN, 3, CANDIDATE),
        ("no drift", SHOWN, None, PAGE),
        ("unconfirmed", SHOWN, None, PAGE),
        ("no drift", SHOWN, 1, PAGE),
        ("no drift", NOT_SHOWN, None, NONE),
        ("no drift", "no labels", None, NONE),
    ],
)
def test_the_table(verdict: str, harm: Harm | str, since: int | None, action: str) -> None:
    assert respond(verdict, harm, REQUIRED, since).action == action


def test_the_words_carry_the_figures() -> None:
    told = respond("drift", NOT_SHOWN, REQUIRED, None).sentence
    for figure in (
        "1.200 nats per byte",
        "1.000 on what was asked before",
        "+0.200",
        "one-sided 0.95 bounds",
        "-0.100 and +0.500",
    ):
        assert figure in told
    assert "floor 0.1 (40 dev items, effective 33)" in told
    assert respond("drift", "no labels", REQUIRED, None).sentence == (
        "Harm was not measured: no labels. A candidate is trained."
    )


@pytest.mark.parametrize(
    ("verdict", "told"),
    [
        ("unconfirmed", "The shift is not confirmed yet: a person should look"),
        ("no drift", "What is asked has not shifted enough for training on it to help: a person should look"),
    ],
)
def test_who_is_called_is_not_told_what_the_verdict_denies(verdict: str, told: str) -> None:
    assert told in respond(verdict, SHOWN, REQUIRED, None).sentence

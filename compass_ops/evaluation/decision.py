"""The decision record: what was judged, against what, with which numbers, and the verdict in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from compass_ops.evaluation.gate import Judgement
from compass_ops.storage import value_digest

SCHEMA = 1
_DECIMALS = 9  # of the numbers in a record: more would differ between machines


@dataclass(frozen=True)
class Opponent:
    """What a candidate is judged against: the bare base, or a Production version."""

    kind: Literal["base", "production"]
    version: str | None
    digest: str | None


@dataclass(frozen=True)
class Occasion:
    """What led to the candidate: a window of traffic and the SHA-256 of its drift verdict, or neither."""

    window: str | None
    drift_digest: str | None


TRAINED = Occasion(None, None)


def decision_record(
    language: str, candidate: str | None, opponent: Opponent, judgement: Judgement, occasion: Occasion = TRAINED
) -> dict[str, Any]:
    """Return the record as a JSON object; ``record_digest`` is the SHA-256 of all else.

    ``used_gate`` tells whether the gate half was looked at, which registration counts.
    """
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "language": language,
        "candidate": candidate,
        "against": {"kind": opponent.kind, "version": opponent.version, "digest": opponent.digest},
        "verdict": judgement.verdict,
        "reasons": list(judgement.reasons),
        "tests": [
            {
                "name": test.name,
                "estimate": round(test.estimate, _DECIMALS),
                "low": round(test.low, _DECIMALS),
                "high": round(test.high, _DECIMALS),
                "margin": test.margin,
                "n": test.n,
                "effective_n": round(test.effective_n, _DECIMALS),
                "passed": test.passed,
                "resolvable": round(test.resolvable, _DECIMALS),
            }
            for test in judgement.tests
        ],
        "window": occasion.window,
        "drift_digest": occasion.drift_digest,
        "used_gate": bool(judgement.tests),
    }
    return record | {"record_digest": value_digest(record)}


def opponent_of(entry: Mapping[str, Any], base_digest: str) -> Opponent:
    """Read a language's entry of ``registry.json``: its Production version, or the base where there is none."""
    production = entry.get("production")
    if production is None:
        return Opponent("base", None, base_digest)
    return Opponent("production", str(production["version"]), production["digest"])


def decided_before(candidate: str, entry: Mapping[str, Any], most_uses: int) -> Judgement | None:
    """Return the judgement of a candidate that needs or gets no new test, or None.

    Parameters
    ----------
    candidate : str
        Adapter digest.
    entry : mapping
        The language's entry of ``registry.json``; empty for a language that the registry does not know.
    most_uses : int
        Decisions after which a gate half is used up.
    """
    production = entry.get("production")
    if production is not None and production["digest"] == candidate:
        return Judgement("already judged", (f"It is Production version {production['version']} already.",))
    earlier = entry.get("judged", {}).get(candidate)
    if earlier is not None:
        return Judgement(
            "already judged",
            (
                f"This adapter was {earlier['verdict']} before (decision record {earlier['record']}). "
                "The pipeline does not decide twice on one adapter.",
            ),
        )
    uses = int(entry.get("gate_uses", 0))
    if uses >= most_uses:
        return Judgement(
            "cannot judge",
            (
                f"The gate half was used {uses} times (at most {most_uses} allowed): bring new labelled items, and let "
                f"them be used too: gate.most_uses {uses + most_uses}.",
            ),
        )
    return None

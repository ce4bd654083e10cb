"""Drift verdicts in words: one sentence with the figures that decided."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from compass_ops.monitoring.measures import DIVERGENCE, MIX, MMD, NOVELTY

if TYPE_CHECKING:
    from compass_ops.monitoring.drift import ClusterMove, Finding

_EFFECTS = {
    DIVERGENCE: "debiased divergence of clusters {effect:.4f} nats (floor {floor:g})",
    MMD: "debiased MMD {effect:.5f} (floor {floor:g})",
    NOVELTY: "{value:.1%} new, {effect:.2f} times the reference's share (floor {floor:g})",
    MIX: "debiased divergence of scripts {effect:.4f} nats (floor {floor:g})",
}


def finding_sentence(findings: Sequence["Finding"], alpha: float, family: int, moved: Sequence["ClusterMove"]) -> str:
    """Say what a tested window showed.

    Parameters
    ----------
    findings : sequence of Finding, not empty, with p-values
    alpha : float
    family : int
        Languages tested together.
    moved : sequence of ClusterMove, largest first
    """
    significant = [finding for finding in findings if (finding.p_value or 0.0) <= alpha]
    alarming = [finding for finding in significant if finding.alarms(alpha)]
    over = f"over {counted(family)}"
    if alarming:
        figures = "; ".join(map(_figures, alarming))
        return f"What is asked has shifted: {figures}; at or below {alpha:g} {over}{_largest(moved)}."
    if significant:
        figures = "; ".join(map(_figures, significant))
        return f"A shift too small to act on: {figures} {over}{_largest(moved)}."
    least = min(findings, key=lambda finding: finding.p_value or 0.0)
    return f"No sign of a shift: smallest p {least.p_value:.3g} ({least.statistic}) {over}, above {alpha:g}."


def threshold_sentence(divergence: float, threshold: float) -> str:
    """Say how a divergence in nats lies to a fixed threshold."""
    side = "above" if divergence > threshold else "not above"
    return f"The divergence of clusters is {divergence:.4f} nats, {side} the fixed threshold {threshold:g}; no test."


def insufficient_sentence(
    rows: tuple[int, int], minimum: tuple[int, int], sessions: tuple[int, int], least_sessions: int
) -> str:
    """Say which sample is too small: rows, least rows and sessions of (window, reference)."""
    names = ("window", "reference")
    short = [
        f"the {name} has {have} rows, {least} are needed"
        for name, have, least in zip(names, rows, minimum, strict=True)
        if have < max(1, least)
    ] or [
        f"the {name} has {have} sessions, {least_sessions} are needed"
        for name, have in zip(names, sessions, strict=True)
        if have < least_sessions
    ]
    return f"Too little to judge: {'; '.join(short)}."


def thinned_sentence(rows: tuple[int, int], all_rows: tuple[int, int]) -> str:
    """Say, with a space before it, that not all rows of (window, reference) were compared; empty if they were."""
    names = ("window", "reference")
    for name, other, compared, have in zip(names, reversed(names), rows, all_rows, strict=True):
        if compared < have:
            return (
                f" One prompt per session was compared, {compared} of the {name}'s {have}, because the {other} has no "
                "sessions."
            )
    return ""


def counted(languages: int) -> str:
    """Return a number of languages with its noun."""
    return f"{languages} language" + ("" if languages == 1 else "s")


def _figures(finding: "Finding") -> str:
    effect = _EFFECTS[finding.statistic].format(effect=finding.effect, floor=finding.floor, value=finding.value)
    return f"{effect}, p {finding.p_value:.3g}"


def _largest(moved: Sequence["ClusterMove"]) -> str:
    if not moved:
        return ""
    most = moved[0]
    verb = "rose" if most.after > most.before else "fell"
    return f"; the share of cluster {most.cluster} {verb} from {most.before:.1%} to {most.after:.1%}"

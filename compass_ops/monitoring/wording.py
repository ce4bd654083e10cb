"""Drift verdicts in words: one sentence with the figures that decided."""


def drift_sentence(
    drifted: bool,
    effect_nats: tuple[float, float],
    test: tuple[float, float, int],
    largest: tuple[int, float, float] | None,
) -> str:
    """Say what a tested window showed.

    Parameters
    ----------
    drifted : bool
    effect_nats : (debiased divergence, floor)
    test : (adjusted p-value, alpha, languages tested together)
    largest : (cluster, share before, share after), or None if no share changed
    """
    debiased, floor = effect_nats
    p_value, alpha, family = test
    figures = f"debiased divergence {debiased:.4f} nats (floor {floor:g}), p {p_value:.3g} over {counted(family)}"
    if drifted:
        return f"What is asked has shifted: {figures}, at or below {alpha:g}{_largest(largest)}."
    if p_value <= alpha:
        return f"A shift too small to act on: {figures}{_largest(largest)}."
    return f"No sign of a shift: {figures}, above {alpha:g}."


def insufficient_sentence(rows: tuple[int, int], minimum: tuple[int, int]) -> str:
    """Say which sample is too small: rows and minimum of (window, reference)."""
    short = [
        f"the {name} has {have} rows, {least} are needed"
        for name, have, least in zip(("window", "reference"), rows, minimum, strict=True)
        if have < max(1, least)
    ]
    return f"Too little to judge: {'; '.join(short)}."


def counted(languages: int) -> str:
    """Return a number of languages with its noun."""
    return f"{languages} language" + ("" if languages == 1 else "s")


def _largest(move: tuple[int, float, float] | None) -> str:
    if move is None:
        return ""
    cluster, before, after = move
    verb = "rose" if after > before else "fell"
    return f"; the share of cluster {cluster} {verb} from {before:.1%} to {after:.1%}"

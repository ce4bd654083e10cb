"""The comparison's tables as Markdown, from the summaries alone. Pure."""

from collections.abc import Mapping
from typing import Any

from benchmarks.continual.summary import COSTLY, OWN

Summaries = Mapping[str, Mapping[str, Any]]
_COLUMNS = (
    "| method | ACC | 95 % over languages | BWT | forgetting | worst language | tokens | of full_retrain | at the last "
    "step | teacher | all of full_retrain | seconds | ecda minus it | 95 % | p |\n"
    "| :-- | --: | :-: | --: | --: | :-- | --: | --: | --: | --: | --: | --: | --: | :-: | --: |"
)
_FORWARD = 1 / 3  # of what forward and backward cost


def tables(tuning: Summaries, results: Summaries) -> str:
    """Return all tables: what was found, then what strengths were chosen on."""
    parts = []
    for dataset in sorted({*tuning, *results}):
        parts.append(f"### {dataset}\n")
        if dataset in results:
            parts.append(f"Gate half.\n\n{_table(results[dataset])}\n\n{_languages(results[dataset])}")
        if dataset in tuning:
            parts.append(
                "Tuning: gate half of other languages and seeds, from which the strengths were chosen.\n\n"
                f"{_table(tuning[dataset])}\n"
            )
    return "\n".join(parts) if parts else "Nothing has been run yet.\n"


def _table(summary: Mapping[str, Any]) -> str:
    names = sorted(summary, key=lambda name: -summary[name]["acc"])
    return "\n".join([_COLUMNS, *(_row(name, summary[name], summary.get(COSTLY)) for name in names)])


def _row(name: str, entry: Mapping[str, Any], costly: Mapping[str, Any] | None) -> str:
    (low, high), worst, own = entry["ci95"], entry["worst_language"], entry.get("ecda_vs")
    shares = [entry.get(f"{what}_share") for what in ("train_tokens", "last_tokens")]
    shown = [
        f"**{name}**" if name == OWN else name,
        f"{entry['acc']:.3f}",
        f"[{low:.3f}, {high:.3f}]",
        f"{entry['bwt']:+.3f}",
        f"{entry['forgetting']:.3f}",
        f"{worst['language']} {worst['acc']:.3f}",
        f"{entry['train_tokens'] / 1000:.0f}k",
        *("" if share is None else f"{share:.1%}" for share in shares),
        f"{entry['teacher_tokens'] / 1000:.0f}k",
        "" if costly is None else f"{_work(entry) / _work(costly):.1%}",
        f"{entry['seconds']:.0f}",
        f"{own['diff']:+.3f}" if own else "",
        f"[{own['low']:+.3f}, {own['high']:+.3f}]" if own else "",
        f"{own['p']:.2g}" if own else "",
    ]
    return f"| {' | '.join(shown)} |"


def _work(entry: Mapping[str, Any]) -> float:
    """Return what a chain cost in tokens seen forward and backward."""
    return float(entry["train_tokens"] + _FORWARD * entry["teacher_tokens"])


def _languages(summary: Mapping[str, Any]) -> str:
    """Return ACC and forgetting by language."""
    languages = sorted(next(iter(summary.values()))["per_language"])
    lines = [f"| language | {' | '.join(summary)} |", f"| :-- |{' :-: |' * len(summary)}"]
    for language in languages:
        cells = [entry["per_language"][language] for entry in summary.values()]
        shown = [f"{cell['acc']:.3f} ({cell['forgetting']:+.3f})" for cell in cells]
        lines.append(f"| {language} | {' | '.join(shown)} |")
    return "\n".join(["<details><summary>ACC (forgetting) by language</summary>\n", *lines, "\n</details>\n"])

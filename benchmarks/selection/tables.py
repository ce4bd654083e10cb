"""The comparison's tables as Markdown, from the summaries alone. Pure."""

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.selection.summary import ABLATION, OWN

Summaries = Mapping[str, Mapping[str, Any]]
_COLUMNS = (
    "| strategy | accuracy | 95 % over languages | margin | 95 % over languages | distance | repeats | tokens | "
    "vs random | compass_plus vs it, 95 % | p | p (Holm) | d | margin vs it, 95 % | p | p (Holm) |\n"
    "| :-- | --: | :-: | --: | :-: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |"
)


def tables(dev: Summaries, results: Summaries) -> str:
    """Return all tables: the gate half first where it was looked at, then dev, each with the ablations."""
    parts = []
    for dataset in sorted({*dev, *results}):
        parts.append(f"### {dataset}\n")
        if dataset in results:
            parts.append(f"Gate half.\n\n{_table(results[dataset])}\n")
        if dataset in dev:
            parts.append(f"Dev half.\n\n{_table(dev[dataset])}\n")
        parts.append(_languages(results.get(dataset) or dev[dataset]))
    return "\n".join(parts) if parts else "Nothing has been run yet.\n"


def _table(summary: Mapping[str, Any]) -> str:
    names = sorted(summary, key=lambda name: (name.startswith(ABLATION), -summary[name]["mean_accuracy"]))
    return "\n".join([_COLUMNS, *(_row(name, summary[name]) for name in names)])


def _row(name: str, entry: Mapping[str, Any]) -> str:
    random, own = entry.get("vs_random"), entry.get("compass_plus_vs")
    low, high = entry["ci95"]
    margin_low, margin_high = entry["margin_ci95"]
    shown = [
        f"**{name}**" if name == OWN else name,
        f"{entry['mean_accuracy']:.3f}",
        f"[{low:.3f}, {high:.3f}]",
        f"{entry['mean_margin']:+.2f}",
        f"[{margin_low:+.2f}, {margin_high:+.2f}]",
        f"{entry['energy_distance']:.3f}" if entry["train_tokens"] else "",
        f"{entry['duplicates']:.0%}" if entry["train_tokens"] else "",
        f"{entry['train_tokens'] / 1000:.0f}k",
        f"{random['diff']:+.3f}" if random else "",
        f"{own['diff']:+.3f} [{own['low']:+.3f}, {own['high']:+.3f}]" if own else "",
        _p(own["p"]) if own else "",
        _p(own["p_holm"]) if own else "",
        f"{own['d']:.2f}" if own and own["d"] is not None else "",
        f"{own['margin_diff']:+.2f} {_margin_limits(own)}" if own else "",
        _p(own["margin_p"]) if own else "",
        _p(own["margin_p_holm"]) if own else "",
    ]
    return f"| {' | '.join(shown)} |"


def _p(value: float) -> str:
    return f"{value:.2g}" if value < 0.1 else f"{value:.2f}"


def _margin_limits(entry: Mapping[str, Any]) -> str:
    return f"[{entry['margin_low']:+.2f}, {entry['margin_high']:+.2f}]"


def _languages(summary: Mapping[str, Any]) -> str:
    """Return accuracy and margin by language, with the limits that its items allow."""
    accuracy = _by_language(summary, lambda own: f"{own['accuracy']:.3f} [{own['low']:.2f}, {own['high']:.2f}]")
    margin = _by_language(summary, lambda own: f"{own['margin']:+.2f} {_margin_limits(own)}")
    parts = ["Accuracy.\n", *accuracy, "\nMargin, in nats.\n", *margin]
    return "\n".join(["<details><summary>By language</summary>\n", *parts, "\n</details>\n"])


def _by_language(summary: Mapping[str, Any], shown: Callable[[Mapping[str, Any]], str]) -> list[str]:
    names = [name for name in summary if not name.startswith(ABLATION)]
    lines = [f"| language | {' | '.join(names)} |", f"| :-- |{' :-: |' * len(names)}"]
    for language in sorted(next(iter(summary.values()))["per_language"]):
        lines.append(f"| {language} | {' | '.join(shown(summary[name]['per_language'][language]) for name in names)} |")
    return lines

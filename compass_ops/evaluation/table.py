"""The README's table of zero-shot and adapter accuracy: numbers in, Markdown out. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from compass_ops.errors import CompassError

BEGIN, END = MARKS = "<!-- compass table: begin -->", "<!-- compass table: end -->"
_MODELS = ("base", "adapter")
_HEAD = ("language", "items", "zero-shot, as asked", "adapter, as asked", "zero-shot, all alike", "adapter, all alike")
_RULE = (":--", "--:", *[":-:"] * 4)
_NOTHING = "-"

Summary = Mapping[str, Any]


def accuracy_table(metrics: Mapping[str, Mapping[str, Summary] | None]) -> str:
    """Return the table as Markdown, one line per language in sorted order, without a final newline.

    Items are those of the gate half, in brackets the effective number under the weights. The last row is the mean
    over the languages that have numbers, each counted alike. It has no interval: where languages are asked
    translations of the same items, their errors are not independent.

    Parameters
    ----------
    metrics : mapping of language to {"base": summary, "adapter": summary} or None
        A summary has ``accuracy``, ``low`` and ``high`` in [0, 1] (None without labelled items) and ``n`` items, all
        counted alike; and the same under ``asked``, weighted by what is asked of the language, where ``n`` is the
        effective number. None stands for a language that was not evaluated.

    Raises
    ------
    CompassError
        If there is no language at all.
    """
    if not metrics:
        raise CompassError("The evaluation holds no language. Run `dvc repro` to the end, then ask again.")
    measured = {language: models for language, models in metrics.items() if models is not None and _complete(models)}
    rows = [_row(language, measured.get(language)) for language in sorted(metrics)]
    return "\n".join(_line(cells) for cells in (_HEAD, _RULE, *rows, _mean_row(list(measured.values()))))


def with_table(text: str, table: str, marks: tuple[str, str] = MARKS) -> str:
    """Return ``text`` with ``table`` in place of what stands between the lines that ``marks`` are.

    Raises
    ------
    CompassError
        If each marker is not there exactly once, the first before the second.
    """
    begin, end = marks
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise CompassError(
            f"The text must hold the lines {begin} and {end} once each, in this order; it holds them "
            f"{text.count(begin)} and {text.count(end)} times. Put them where the table shall stand."
        )
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    return f"{before}{begin}\n{table}\n{end}{after}"


def _complete(models: Mapping[str, Summary]) -> bool:
    return all(models[model]["accuracy"] is not None for model in _MODELS)


def _row(language: str, models: Mapping[str, Summary] | None) -> tuple[str, ...]:
    if models is None:
        return (language, *[_NOTHING] * (len(_HEAD) - 1))
    counted = models["base"]
    items = f"{counted['n']} ({counted['asked']['n']:.0f})"
    return (language, items, *(_scored(summary) for summary in _in_order(models)))


def _mean_row(measured: Sequence[Mapping[str, Summary]]) -> tuple[str, ...]:
    label = f"**mean of {len(measured)}**"
    if not measured:
        return (label, *[_NOTHING] * (len(_HEAD) - 1))
    columns = zip(*(_in_order(models) for models in measured), strict=True)
    means = [sum(summary["accuracy"] for summary in column) / len(measured) for column in columns]
    return (label, str(sum(models["base"]["n"] for models in measured)), *(f"{mean:.3f}" for mean in means))


def _in_order(models: Mapping[str, Summary]) -> list[Summary]:
    """Return the summaries in the order of the columns."""
    return [*(models[model]["asked"] for model in _MODELS), *(models[model] for model in _MODELS)]


def _scored(summary: Summary) -> str:
    return f"{summary['accuracy']:.3f} [{summary['low']:.3f}, {summary['high']:.3f}]"


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"

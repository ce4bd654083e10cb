"""The comparison's figure: accuracy of each strategy with its 95 % limits over languages, as SVG. Pure."""

from collections.abc import Mapping
from html import escape
from typing import Any

from benchmarks.selection.summary import ABLATION, OWN

_LEFT, _WIDTH, _ROW = 130, 420, 22


def figure(summaries: Mapping[str, Mapping[str, Any]]) -> str:
    """Return one panel per data set, strategies by falling accuracy; a shape, not only a colour, marks compass_plus."""
    parts, top = [], 10
    for dataset in sorted(summaries):
        rows = {name: entry for name, entry in summaries[dataset].items() if not name.startswith(ABLATION)}
        panel, height = _panel(dataset, rows, top)
        parts.append(panel)
        top += height
    size = _LEFT + _WIDTH + 30
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {top}" role="img" font-family="sans-serif" '
        f'font-size="12"><title>Accuracy by strategy</title><rect width="100%" height="100%" fill="#fff"/>'
        f"{''.join(parts)}</svg>\n"
    )


def _panel(dataset: str, rows: Mapping[str, Any], top: int) -> tuple[str, int]:
    least = min(entry["ci95"][0] for entry in rows.values())
    most = max(entry["ci95"][1] for entry in rows.values())
    span = max(most - least, 1e-9)

    def x(value: float) -> str:
        return f"{_LEFT + _WIDTH * (value - least) / span:.1f}"

    lines = [f'<text x="{_LEFT}" y="{top + 14}" font-weight="bold">{escape(dataset)}</text>']
    order = sorted(rows, key=lambda name: -rows[name]["mean_accuracy"])
    for place, name in enumerate(order):
        entry, y = rows[name], top + 34 + place * _ROW
        low, high = entry["ci95"]
        fill = "#1d5fa8" if name == OWN else "#fff"
        lines.append(
            f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{escape(name)}</text>'
            f'<line x1="{x(low)}" x2="{x(high)}" y1="{y}" y2="{y}" stroke="#1d5fa8" stroke-width="2"/>'
            f'<circle cx="{x(entry["mean_accuracy"])}" cy="{y}" r="5" fill="{fill}" stroke="#1d5fa8" stroke-width="2">'
            f"<title>{escape(name)}: {entry['mean_accuracy']:.3f}</title></circle>"
        )
    bottom = top + 34 + len(order) * _ROW
    for value in (least, (least + most) / 2, most):
        lines.append(f'<text x="{x(value)}" y="{bottom + 8}" text-anchor="middle" fill="#555">{value:.2f}</text>')
    return "".join(lines), 34 + len(order) * _ROW + 30

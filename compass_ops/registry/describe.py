"""One version in words and numbers, and two versions beside each other."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compass_ops.registry.mirror import LanguageView
from compass_ops.registry.versions import DECISION
from compass_ops.storage import read_json
from compass_ops.training.version import CONFIG, MANIFEST, PLACES

_FIGURES = ("estimate", "low", "high", "n", "passed")


@dataclass(frozen=True)
class Difference:
    """Where two versions differ: in which part, in what, and the two values; None stands for nothing there."""

    part: str
    what: str
    first: Any
    second: Any


def describe(folder: Path, view: LanguageView, number: str) -> dict[str, Any]:
    """Return what a version is: its place, lineage, data, params, metrics, decision, files and history.

    Parameters
    ----------
    folder : Path
        The version's verified files.
    """
    manifest, config = read_json(folder / MANIFEST), read_json(folder / CONFIG)
    decision = read_json(folder / DECISION) if (folder / DECISION).is_file() else None
    state, version = view.state, view.versions[number]
    return {
        "language": state.language,
        "version": number,
        "stage": state.stages.get(number, version.stage),
        "aliases": sorted(alias for alias, at in view.aliases.items() if at == number),
        "lineage": {
            "digest": manifest["digest"],
            "parent": manifest["parent"],
            "base": manifest["base"],
            "embedder": manifest["embedder"],
            "git_commit": manifest["git_commit"],
        },
        "data": {"subset_digest": manifest["subset_digest"], "window": manifest["window"]},
        "params": {key: value for key, value in sorted(config.items()) if key not in PLACES},
        "metrics": _metrics(decision),
        "decision": decision and {key: decision[key] for key in ("verdict", "reasons", "against", "record_digest")},
        "files": dict(sorted(manifest["files"].items())),
        "history": [entry.as_json() for entry in state.entries if number in (entry.version, entry.replaces)],
    }


def _metrics(decision: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    tests = decision["tests"] if decision is not None else []
    return {test["name"]: {name: test[name] for name in _FIGURES if name in test} for test in tests}


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    """Return where two descriptions differ, in the order metrics, data, params, lineage, files."""
    found: list[Difference] = []
    for part in ("metrics", "data", "params", "lineage", "files"):
        one, other = dict(_flat(first[part])), dict(_flat(second[part]))
        for what in sorted(one.keys() | other.keys()):
            if one.get(what) != other.get(what):
                found.append(Difference(part, what, one.get(what), other.get(what)))
    return found


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flat(item, f"{path} / {key}" if path else str(key))
    elif path:
        yield path, value

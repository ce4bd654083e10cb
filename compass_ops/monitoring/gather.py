"""Stage report: what the other stages left, put together as one row per language."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compass_ops.fanout import RECEIPT
from compass_ops.monitoring.coverage import sets_quotas
from compass_ops.monitoring.fleet import Alarm, CheckLine, ClusterPlan, Decision, DriftCell, FleetRow, Score
from compass_ops.monitoring.verdict import FAILED
from compass_ops.registry.stages import PROMOTED, REFUSED, STAGED
from compass_ops.storage import read_json

# Folders with one subfolder per language that may hold the receipt of a failure, in the order of the road.
FANNED_OUT = ("sample", "train", "evaluate", "update")


def fleet_rows(inputs: Mapping[str, Path], out: Path) -> list[FleetRow]:
    """Put the fleet's rows together.

    Parameters
    ----------
    inputs : mapping
        ``languages`` (ingest's ``languages.json``) and the folders of the stages ``embed``, ``sample``, ``train``,
        ``evaluate``, ``admit``, ``register``, ``drift``, ``update``, ``gate`` and ``promote``.
    out : Path
        The page's folder, which links are relative to.
    """
    drift = read_json(inputs["drift"] / "summary.json")
    scores = read_json(inputs["evaluate"] / "metrics.json")
    registry = read_json(inputs["register"] / "registry.json")["languages"]
    receipts = {stage: read_json(inputs[stage] / "receipts.json")["languages"] for stage in ("register", "promote")}
    ingested = read_json(inputs["languages"])
    rows = []
    for language in sorted({*ingested, *drift}):
        seen = drift.get(language)
        failure = _failure(language, ingested.get(language, {}), inputs, seen)
        serving = _serving(registry.get(language, {}), receipts["promote"].get(language, {}))
        decision, reason = _decided(language, receipts, serving, registry.get(language, {}).get("staging"))
        rows.append(
            FleetRow(
                language=language,
                zero_shot=_score(scores, language, "base"),
                adapter=_score(scores, language, "adapter"),
                drift=seen and DriftCell(**{name: seen[name] for name in DriftCell.__dataclass_fields__}),
                decision=FAILED if failure else decision,
                reason=reason,
                version=serving,
                stage="Production" if serving else None,
                last_alarm=Alarm(**seen["last_alarm"]) if seen and seen["last_alarm"] else None,
                report=_link(inputs["drift"], out, seen),
                failure=failure,
                decisions=_decisions(language, inputs, receipts["promote"].get(language, {})),
                plan=_plan(inputs["sample"] / language / "plan.json"),
            )
        )
    return rows


def failures(rows: Sequence[FleetRow]) -> list[str]:
    """Return one line per language that failed."""
    return [f"{row.language}: {row.failure}" for row in rows if row.failure is not None]


def _failure(
    language: str, ingested: Mapping[str, Any], inputs: Mapping[str, Path], seen: Mapping[str, Any] | None
) -> str | None:
    """Return why the language failed: the first reason on the road, since the later ones follow from it."""
    if ingested.get("status") == FAILED:
        return f"ingest: {ingested['reason']}"
    embedding = sorted(inputs["embed"].glob(f"*/{language}/{RECEIPT}"))  # one per role
    for path in (*embedding, *(inputs[stage] / language / RECEIPT for stage in FANNED_OUT)):
        receipt = read_json(path) if path.exists() else {}
        if receipt.get("status") == FAILED:
            return f"{receipt['stage']}: {receipt['reason']}"
    if seen is not None and seen["verdict"] == FAILED:
        return f"drift: {seen['sentence']}"
    return None


def _serving(entry: Mapping[str, Any], promoted: Mapping[str, Any]) -> str | None:
    """Return the version in Production after ``promote``, which leaves the registry's files as they were."""
    if promoted.get("status") == "promoted":
        return str(promoted["version"])
    production = entry.get("production")
    return None if production is None else str(production["version"])


def _decided(
    language: str,
    receipts: Mapping[str, Mapping[str, Any]],
    serving: str | None,
    staging: Mapping[str, Any] | None,
) -> tuple[str, str]:
    """Return the last decision that changed something, was refused or waits, in a few words and with its reason."""
    for stage, what in (("promote", "update"), ("register", "adapter")):
        receipt = receipts[stage].get(language, {})
        status, reason = str(receipt.get("status", "")), str(receipt.get("reason", ""))
        if status == STAGED:
            return f"{what} waits for approval", f"{reason} {_waits(language, receipt['version'])}"
        if status in (PROMOTED, REFUSED, "held", "conflict", "cannot judge"):
            return f"{what} {status}" if status != "cannot judge" else f"{what} not judged", reason
    if staging is not None:
        return "waits for approval", _waits(language, staging["version"])
    if serving is not None:
        return "kept", f"Version {serving} stays in Production."
    base = receipts["register"].get(language, {})
    return "base serves", str(base.get("reason") or "No adapter has been promoted; the base serves alone.")


def _waits(language: str, version: str) -> str:
    calls = f"`compass approve {language}` promotes it, `compass reject {language}` does not."
    return f"Version {version} is in Staging: {calls}"


def _score(scores: Mapping[str, Any], language: str, model: str) -> Score | None:
    """Return accuracy on what is asked of the language."""
    found = scores.get(language, {}).get(model, {}).get("asked")
    return (
        None
        if found is None or found["accuracy"] is None
        else Score(found["accuracy"], found["low"], found["high"], found["n"])
    )


def _link(drift: Path, out: Path, seen: Mapping[str, Any] | None) -> str | None:
    if seen is None or seen["report"] is None:
        return None
    target, folder = (drift / seen["report"]).resolve(), out.resolve()
    shared = next(parent for parent in (folder, *folder.parents) if target.is_relative_to(parent))
    steps = len(folder.relative_to(shared).parts)
    return "/".join([".."] * steps + list(target.relative_to(shared).parts))


def _decisions(language: str, inputs: Mapping[str, Path], promoted: Mapping[str, Any]) -> tuple[Decision, ...]:
    """Return the record that Production came from, before ``promote`` made its change, and those of this run."""
    which = "version before" if promoted.get("status") == "promoted" else "present version"
    records = (
        (
            f"What put the {which} in Production",
            inputs["register"] / "production" / language / "decision.json",
        ),
        ("The newly trained adapter", inputs["admit"] / f"{language}.json"),
        ("The updated adapter", inputs["gate"] / f"{language}.json"),
    )
    found = [(title, read_json(path)) for title, path in records if path.exists()]
    shown: dict[str, Decision] = {}
    for title, record in found:
        tests = tuple(
            CheckLine(**{name: test[name] for name in CheckLine.__dataclass_fields__}) for test in record["tests"]
        )
        decision = Decision(title, record["verdict"], tuple(record["reasons"]), tests)
        shown.setdefault(record["record_digest"], decision)
    return tuple(shown.values())


def _plan(path: Path) -> tuple[ClusterPlan, ...]:
    if not path.exists():
        return ()
    plan = read_json(path)
    quotas = sets_quotas(plan["strategy"])
    return tuple(
        ClusterPlan(
            cluster=cluster["cluster"],
            target_share=cluster["target_share"],
            held_share=cluster["held_share"],
            gap=cluster["gap"],
            quota=cluster["quota"] if quotas else None,
            supply=cluster["supply"],
            chosen=cluster["chosen"],
            example=next(iter(cluster["examples"]), ""),
        )
        for cluster in plan["clusters"]
    )

"""Decision records against the registry: what is missing is written, twice in a row the second writes nothing.

Order of writes for one decision, each of which may be the last before a crash:

1. a finished MLflow run with the version's files (found again by the digest of its manifest);
2. the model version, without a stage (found again by adapter digest and record digest);
3. the history entry: the decision takes effect, for every reader at once;
4. the claim on writing stages and aliases, which is given back at the end;
5. the stage, with the predecessor archived in the same transaction;
6. the alias.

Before 3 nothing has happened, and the next run takes up what is there. After 3 the next run finds the adapter
judged and only brings stage and alias up to date. Where promotion is manual, 3 puts the version into Staging, and
`compass approve` brings it to Production.

A decision that cannot take effect (the language is held, another version serves meanwhile) leaves 3 alone, without a
version: the use of the gate half counts all the same.
"""

import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from compass_ops.errors import ConflictError, RegistryError
from compass_ops.registry.decisions import Receipt, Record, Write, plan_writes
from compass_ops.registry.history import TESTED, Entry, LanguageState, check_number
from compass_ops.registry.location import author, git_commit, now, running_experiment
from compass_ops.registry.mirror import LanguageView, corrections
from compass_ops.registry.mirroring import mirror, mirror_decided
from compass_ops.registry.names import checked_language
from compass_ops.registry.stages import ARCHIVED, NONE, PRODUCTION, PROMOTED, REFUSED, STAGED, STAGING, check_move
from compass_ops.registry.store import RegistryStore
from compass_ops.registry.versions import DECISION, DRIFT, run_notes, stage_for_registration, verify_version
from compass_ops.storage import file_digest, read_json, value_digest, write_json

_TARGETS = MappingProxyType({PROMOTED: PRODUCTION, STAGED: STAGING, REFUSED: ARCHIVED})


@dataclass(frozen=True)
class Evidence:
    """Where decisions and what they refer to lie.

    Attributes
    ----------
    decisions : Path
        ``<language>.json`` are the decision records.
    candidates : Path
        ``<language>/version`` are the adapter version folders.
    drift : Path or None
        ``<language>/verdict.json`` are the drift verdicts that led to the candidates.
    """

    decisions: Path
    candidates: Path
    drift: Path | None = None


def reconcile(store: RegistryStore, evidence: Evidence, out: Path, *, manual: bool) -> None:
    """Bring the registry to what the decisions ask for, and write ``<out>/receipts.json``.

    Under ``dvc exp run`` nothing but the receipts is written.

    Parameters
    ----------
    manual : bool
        Whether what passed the gate waits in Staging until a person approves it.

    Raises
    ------
    RegistryError
        If the registry cannot be read or written, or evidence does not fit its record. What is done stays done.
    """
    records = read_records(evidence.decisions)
    experiment = running_experiment()
    repaired: list[str] = []
    if experiment is not None:
        skipped = Receipt("skipped: experiment", f"Experiment {experiment} leaves the registry as it is.")
        receipts = dict.fromkeys(records, skipped)
    else:
        out.mkdir(parents=True, exist_ok=True)
        receipts, repaired = apply(store, records, evidence, out, manual=manual)
    told = {language: receipt.as_json() for language, receipt in receipts.items()}
    write_json(out / "receipts.json", {"schema": 1, "languages": told, "repaired": repaired})


def read_records(folder: Path) -> dict[str, dict[str, Any]]:
    """Read every language's decision record; ``RegistryError`` names one that was altered since."""
    records: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.json")):
        record = read_json(path)
        language = checked_language(path.stem)
        body = {key: value for key, value in record.items() if key != "record_digest"}
        if record["language"] != language or value_digest(body) != record["record_digest"]:
            raise RegistryError(f"{path}: was altered after it was decided. Run `dvc repro` to decide again.")
        records[language] = record
    return records


def apply(
    store: RegistryStore, records: Mapping[str, Record], evidence: Evidence, workplace: Path, *, manual: bool
) -> tuple[dict[str, Receipt], list[str]]:
    """Write what is missing.

    Parameters
    ----------
    workplace : Path
        Folder for temporary copies, on the candidates' file system.

    Returns
    -------
    (dict of language to Receipt, list of str)
        The second names what an interruption had left and what was put right.
    """
    views = store.read()
    repaired = mirror(store, [language for language, view in views.items() if corrections(view)])
    writes, receipts = plan_writes(records, {name: view.state for name, view in views.items()}, manual=manual)
    for write in writes:
        if write.kind == TESTED:
            _count_look(store, write, receipts[write.language])
            continue
        view = views.get(write.language, LanguageView(LanguageState(write.language)))
        version = view.version_of(write.digest, write.record["record_digest"])
        if version is None:
            version = _register(store, write, evidence, workplace)
        try:
            _decide(store, write, version, view.state)
        except ConflictError as error:
            receipts[write.language] = Receipt("conflict", str(error), version)
            continue
        receipts[write.language] = Receipt(write.kind, write.why, version)
        mirror_decided(store, [write.language])
    return receipts, repaired


def _count_look(store: RegistryStore, write: Write, receipt: Receipt) -> None:
    """Note that the gate half was looked at; if somebody else writes at this moment, the next run does."""
    why = f"The gate half was looked at to {write.record['verdict']}, which could not take effect. {receipt.reason}"
    with suppress(ConflictError):
        store.append(_entry(write, why))


def _decide(store: RegistryStore, write: Write, version: str, state: LanguageState) -> None:
    """Write the entry with which a decision takes effect; the files of what is to serve are verified first."""
    check_number(state, version, write.digest)
    target = _TARGETS[write.kind]
    check_move(write.kind, NONE, target)
    if target == PRODUCTION:
        with store.opened(store.read_language(write.language).versions[version]):
            pass
    replaces = None if write.kind == REFUSED else write.record["against"]["version"]
    moved = replace(_entry(write, write.why), version=version, source=NONE, target=target, replaces=replaces)
    store.append(moved)


def _entry(write: Write, why: str) -> Entry:
    """Return what every entry about a decision record says, with no version and no move."""
    record = write.record
    return Entry(
        language=write.language,
        kind=write.kind,
        who=author(),
        when=now(),
        why=why,
        digest=write.digest,
        record=record["record_digest"],
        evidence=record["drift_digest"],
        window=record["window"],
        used_gate=record["used_gate"],
        previous=write.head,
    )


def _register(store: RegistryStore, write: Write, evidence: Evidence, workplace: Path) -> str:
    """Hand the candidate's folder, with the evidence laid beside, to the registry; return the version's number."""
    source = evidence.candidates / write.language / "version"
    found = verify_version(source)
    if (found["language"], found["digest"]) != (write.language, write.digest):
        raise RegistryError(
            f"{source}: holds adapter {found['digest'][:12]} of {found['language']}, but the decision is about "
            f"{write.digest[:12]} of {write.language}. Run `dvc repro`."
        )
    additions = {DECISION: (evidence.decisions / f"{write.language}.json").read_bytes()}
    additions |= _drift_verdict(write, evidence.drift)
    with tempfile.TemporaryDirectory(dir=workplace, prefix=".register.") as aside:
        folder = Path(aside) / "version"
        manifest = stage_for_registration(source, folder, additions, git_commit(store.location.root))
        notes = run_notes(manifest, write.record)
        return store.add_version(write.language, folder, notes)


def _drift_verdict(write: Write, drift: Path | None) -> dict[str, bytes]:
    """The drift verdict that led to the candidate, if the record names one."""
    expected = write.record["drift_digest"]
    if expected is None:
        return {}
    if drift is None:
        raise RegistryError(
            f"{write.language}: the decision names a drift verdict. Give the folder of the drift stage."
        )
    path = drift / write.language / "verdict.json"
    if file_digest(path) != expected:
        raise RegistryError(f"{path}: is not the drift verdict that the decision names. Run `dvc repro`.")
    return {DRIFT: path.read_bytes()}

"""Which decisions the registry does not hold yet, and why the others are not written. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from compass_ops.registry.history import TESTED, LanguageState
from compass_ops.registry.stages import PROMOTED, REFUSED, STAGED

Record = Mapping[str, Any]

_KINDS = MappingProxyType({"promote": PROMOTED, "refuse": REFUSED})
_HELD, _CONFLICT = "held", "conflict"


@dataclass(frozen=True)
class Write:
    """A decision that the registry does not hold yet.

    Attributes
    ----------
    kind : str
        ``promoted``, ``staged`` (promotion is manual) or ``refused``; ``tested`` where the decision cannot take
        effect, but the gate half was looked at for it, which counts.
    record : mapping
        The decision record.
    head : str or None
        Hash of the last entry of the history that was planned on.
    """

    language: str
    kind: str
    record: Record
    head: str | None

    @property
    def digest(self) -> str:
        """The candidate's adapter digest."""
        return str(self.record["candidate"])

    @property
    def why(self) -> str:
        """The record's reasons as one text."""
        return " ".join(self.record["reasons"])


@dataclass(frozen=True)
class Receipt:
    """What became of one language's decision: a status, one sentence, the version concerned."""

    status: str
    reason: str
    version: str | None = None

    def as_json(self) -> dict[str, str | None]:
        """Return the receipt as a JSON object."""
        return asdict(self)


def plan_writes(
    records: Mapping[str, Record], states: Mapping[str, LanguageState], *, manual: bool
) -> tuple[list[Write], dict[str, Receipt]]:
    """Return the decisions that are still to be written, and receipts for the others.

    Parameters
    ----------
    records : mapping of language to decision record
    states : mapping of language to LanguageState
        Languages that were never registered may be left out.
    manual : bool
        Whether a candidate that passed waits in Staging for a person.

    Returns
    -------
    (list of Write, dict of language to Receipt)
        Statuses of the receipts: ``unchanged`` (this adapter was judged before; only a person may bring it back),
        ``held``, ``conflict`` (decided against a version that is no longer in Production), or the record's own
        verdict where it asks for nothing. A language that is held or in conflict may have a receipt and a ``tested``
        write.
    """
    writes: list[Write] = []
    receipts: dict[str, Receipt] = {}
    for language, record in sorted(records.items()):
        state = states.get(language, LanguageState(language))
        receipt = _reason_not_to_write(record, state)
        if receipt is None:
            kind = _KINDS[record["verdict"]]
            writes.append(Write(language, STAGED if manual and kind == PROMOTED else kind, record, state.head))
        else:
            receipts[language] = receipt
            if _is_uncounted(record, receipt, state):
                writes.append(Write(language, TESTED, record, state.head))
    return writes, receipts


def _is_uncounted(record: Record, receipt: Receipt, state: LanguageState) -> bool:
    """Tell whether the gate half was looked at for a decision that is not written, for the first time."""
    stopped = receipt.status in (_HELD, _CONFLICT)
    return stopped and record["used_gate"] and not state.has_tested(record["candidate"], record["window"])


def _reason_not_to_write(record: Record, state: LanguageState) -> Receipt | None:
    verdict, digest = record["verdict"], record["candidate"]
    if verdict not in _KINDS:
        return Receipt(verdict, " ".join(record["reasons"]))
    if digest in state.judged:
        version = next((number for number, known in state.digests.items() if known == digest), None)
        waits = f" `compass approve {state.language}` promotes it." if version and version == state.staging else ""
        return Receipt("unchanged", f"This adapter was {state.judged[digest].verdict} before.{waits}", version)
    if verdict == "promote" and state.hold is not None:
        until = f"`compass release {state.language}` ends the hold."
        return Receipt(_HELD, f"{state.hold.who} holds the language: {state.hold.why} {until}")
    against = record["against"]
    champion = state.production
    if against["version"] != champion or (champion and against["digest"] != state.digests[champion]):
        decided = f"version {against['version']}" if against["version"] else "the bare base"
        present = f"version {champion}" if champion else "no version"
        return Receipt(
            _CONFLICT,
            f"The decision was taken against {decided}, but {present} is in Production now. The next run decides anew.",
        )
    return None

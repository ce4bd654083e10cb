"""Labelled items that tell how well Production answers what is asked now: feedback of the window, else dev items."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from compass_ops.errors import DataFault
from compass_ops.evaluation.metrics import FloatArray, group_numbers
from compass_ops.evaluation.scorer import Scorer, Version, read_version
from compass_ops.monitoring.action import NONE, NOTHING, Response, respond
from compass_ops.monitoring.comparison import Seen
from compass_ops.monitoring.harm import Harm, HarmSettings, Losses, measure_harm
from compass_ops.monitoring.verdict import Verdict
from compass_ops.selection.cluster import assign
from compass_ops.selection.vectors import read_means, read_vectors
from compass_ops.storage import read_array, read_table


@dataclass(frozen=True)
class Prober:
    """Where labelled items come from, and what scores them.

    Attributes
    ----------
    scorer : Scorer
        Remembers: dev items that Production was chosen on cost nothing, and no model is loaded for them.
    records, vectors : Path
        Folders of the stages ingest and embed, of which ``dev`` is read.
    settings : HarmSettings
    """

    scorer: Scorer
    records: Path
    vectors: Path
    settings: HarmSettings

    def responses(self, seen: Mapping[str, Seen], verdicts: Mapping[str, Verdict]) -> dict[str, Response]:
        """Say for every language what is to be done about its window.

        Languages that shifted are few and found by a test of their own: each is tested at alpha. Over all others
        the probability of calling a person for nothing is alpha together (Bonferroni).
        """
        steady = [name for name, verdict in verdicts.items() if _is_tested(verdict) and not verdict.drifted]
        asked = [name for name in steady if self._has_feedback(seen[name])]
        found = {}
        for language, verdict in verdicts.items():
            if not _is_tested(verdict):
                found[language] = NOTHING
                continue
            level = self.settings.alpha if verdict.drifted else self.settings.alpha / max(1, len(asked))
            version = read_version(seen[language].folder)
            if version.base_digest != self.scorer.base.digest:
                found[language] = Response(NONE, self._another_base(version), None)
                continue
            harm = self._harm(seen[language], version, verdict.drifted, level)
            made_for = version.manifest["window"]
            since = None if made_for is None else int(verdict.judged.window) - int(made_for)
            found[language] = respond(verdict.verdict, harm, self.settings, since)
        return found

    def _another_base(self, version: Version) -> str:
        return (
            f"Production belongs to base {version.base_digest}, this project's is {self.scorer.base.digest}: no "
            "candidate can continue from it. Restore that base, or promote an adapter trained on this one."
        )

    def _has_feedback(self, one: Seen) -> bool:
        return one.feedback.num_rows >= self.settings.least_items

    def _harm(self, one: Seen, version: Version, drifted: bool, level: float) -> Harm | str:
        """Measure on feedback; where it does not suffice and the window drifted, on dev items."""
        language = one.judged.language
        if not drifted and not self._has_feedback(one):
            return f"the window has {one.feedback.num_rows} labelled rows (at least {self.settings.least_items} needed)"
        try:
            dev = self._dev(language, version)
            if dev is None:
                return "the language has no labelled dev items"
            how, lacks = (self.settings, level), []
            if self._has_feedback(one):
                harm = measure_harm(self._feedback(one, version), dev, one.compared.histograms, drifted, how)
                if isinstance(harm, Harm) or not drifted:
                    return harm
                lacks = [harm]
            harm = measure_harm(dev, dev, one.compared.histograms, drifted, how)
            return harm if isinstance(harm, Harm) else "; ".join([*lacks, harm])
        except DataFault as fault:
            return fault.reason.rstrip(".")

    def _dev(self, language: str, version: Version) -> Losses | None:
        file = self.records / "dev" / f"{language}.parquet"
        if not file.exists():
            return None
        records = read_table(file)
        folder = version.folder / "reference"
        vectors = read_vectors(self.vectors, "dev", language, read_means(folder))
        clusters = assign(vectors, read_array(folder / "centroids.npy"))
        labelled = np.flatnonzero(pc.is_valid(records["answer"]).to_numpy())
        if not len(labelled):
            return None
        scores = self.scorer.scores(language, records, version)
        kept = records.take(pa.array(labelled))
        answers = [
            choices[answer]
            for choices, answer in zip(kept["choices"].to_pylist(), kept["answer"].to_pylist(), strict=True)
        ]
        gold = np.array([scores[row][answer] for row, answer in zip(labelled, kept["answer"].to_pylist(), strict=True)])
        groups = group_numbers(kept["parallel_id"].to_pylist(), kept["id"].to_pylist())
        return Losses("dev items", _per_byte(gold, answers), clusters[labelled].astype(np.int64), groups)

    def _feedback(self, one: Seen, version: Version) -> Losses:
        prompts, answers = (one.feedback[name].to_pylist() for name in ("prompt", "completion"))
        scores = self.scorer.answer_scores(one.judged.language, prompts, answers, version)
        clusters: NDArray[np.int64] = one.feedback["cluster"].to_numpy().astype(np.int64)
        return Losses("feedback", _per_byte(scores, answers), clusters, one.feedback["group"].to_numpy())


def _is_tested(verdict: Verdict) -> bool:
    return bool(verdict.findings)


def _per_byte(scores: FloatArray, answers: Sequence[str]) -> FloatArray:
    """Return losses in nats per byte of UTF-8 from summed log-probabilities (n,)."""
    return -scores / np.array([max(1, len(answer.encode())) for answer in answers])

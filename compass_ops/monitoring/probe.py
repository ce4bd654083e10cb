"""Labelled items that tell how well Production answers what is asked now: feedback of windows, else dev items."""

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
from compass_ops.monitoring.harm import Harm, HarmSettings, Losses, lack, measure_harm
from compass_ops.monitoring.labels import earlier_feedback
from compass_ops.monitoring.verdict import Verdict
from compass_ops.monitoring.windows import Embedding, embedded
from compass_ops.selection.centring import centred
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

    def responses(
        self, seen: Mapping[str, Seen], verdicts: Mapping[str, Verdict], embedding: Embedding
    ) -> dict[str, Response]:
        """Say for every language what is to be done about its window.

        Languages that shifted are few and found by a test of their own: each is tested at alpha. Over all others
        the probability of calling a person for nothing is alpha together (Bonferroni).
        """
        found = {language: NOTHING for language, verdict in verdicts.items() if not _is_tested(verdict)}
        versions = {language: read_version(seen[language].folder) for language in verdicts if language not in found}
        for language, version in versions.items():
            if version.base_digest != self.scorer.base.digest:
                found[language] = Response(NONE, self._another_base(version), None)
        feedback = {
            language: self._feedback(seen[language], embedding) for language in versions if language not in found
        }
        asked = sum(not isinstance(rows, str) and not verdicts[name].drifted for name, rows in feedback.items())
        for language, rows in feedback.items():
            one, verdict = seen[language], verdicts[language]
            level = self.settings.alpha if verdict.drifted else self.settings.alpha / max(1, asked)
            harm = self._harm((one, versions[language]), rows, verdict.drifted, level)
            found[language] = respond(verdict.verdict, harm, self.settings, one.since)
        return found

    def _another_base(self, version: Version) -> str:
        return (
            f"Production belongs to base {version.base_digest}, this project's is {self.scorer.base.digest}: no "
            "candidate can continue from it. Restore that base, or promote an adapter trained on this one."
        )

    def _feedback(self, one: Seen, embedding: Embedding) -> tuple[pa.Table, pa.Table] | str:
        """Return the labelled rows of the window and of windows before it, or why they cannot be compared."""
        least, known = self.settings.least_items, one.compared.histograms.reference.astype(np.float64)
        if one.feedback.num_rows < least:
            return f"the window has {one.feedback.num_rows} labelled rows (at least {least} needed)"

        def lacks(rows: pa.Table) -> str | None:
            return lack(
                (rows["cluster"].to_numpy().astype(np.int64), rows["group"].to_numpy()),
                known,
                "feedback",
                self.settings,
            )

        def clusters(prompts: Sequence[str]) -> NDArray[np.int32]:
            return _clusters(one, embedding, prompts)

        try:
            past = earlier_feedback(one.earlier, clusters, lambda rows: lacks(rows) is None)
        except DataFault as fault:
            return fault.reason.rstrip(".")
        if past is None:
            return "no earlier window since Production was made has labelled rows to compare this one's with"
        missing = lacks(past)
        if missing is not None:
            return f"in the earlier windows since Production was made, {missing}"
        return one.feedback, past

    def _harm(
        self, judged: tuple[Seen, Version], feedback: tuple[pa.Table, pa.Table] | str, drifted: bool, level: float
    ) -> Harm | str:
        """Measure on feedback; where it does not suffice and the window drifted, on dev items."""
        (one, version), how = judged, (self.settings, level)
        language, histograms = one.judged.language, one.compared.histograms
        harm = self._harm_on_feedback(judged, feedback, drifted, how)
        if isinstance(harm, Harm) or not drifted:
            return harm
        try:
            dev = self._dev(language, version)
            if dev is None:
                return f"{harm}; the language has no labelled dev items"
            on_dev = measure_harm(dev, dev, histograms, drifted, how)
            return on_dev if isinstance(on_dev, Harm) else f"{harm}; {on_dev}"
        except DataFault as fault:
            return f"{harm}; {fault.reason.rstrip('.')}"

    def _harm_on_feedback(
        self,
        judged: tuple[Seen, Version],
        feedback: tuple[pa.Table, pa.Table] | str,
        drifted: bool,
        how: tuple[HarmSettings, float],
    ) -> Harm | str:
        if isinstance(feedback, str):
            return feedback
        one, version = judged
        try:
            now, past = (self._losses(one.judged.language, rows, version) for rows in feedback)
        except DataFault as fault:
            return fault.reason.rstrip(".")
        return measure_harm(now, past, one.compared.histograms, drifted, how)

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

    def _losses(self, language: str, rows: pa.Table, version: Version) -> Losses:
        prompts, answers = (rows[name].to_pylist() for name in ("prompt", "completion"))
        scores = self.scorer.answer_scores(language, prompts, answers, version)
        clusters, groups = (rows[name].to_numpy().astype(np.int64) for name in ("cluster", "group"))
        return Losses("feedback", _per_byte(scores, answers), clusters, groups)


def _clusters(one: Seen, embedding: Embedding, prompts: Sequence[str]) -> NDArray[np.int32]:
    """Return the prompts' clusters under Production's centroids."""
    language, folder = one.judged.language, one.folder / "reference"
    vectors = embedded(language, embedding, prompts, "earlier windows")
    return assign(centred(vectors, read_means(folder), language), read_array(folder / "centroids.npy"))


def _is_tested(verdict: Verdict) -> bool:
    return bool(verdict.findings)


def _per_byte(scores: FloatArray, answers: Sequence[str]) -> FloatArray:
    """Return losses in nats per byte of UTF-8 from summed log-probabilities (n,)."""
    return -scores / np.array([max(1, len(answer.encode())) for answer in answers])

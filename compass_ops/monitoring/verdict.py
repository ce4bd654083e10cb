"""The verdict on one window of one language, as trigger, gate and registry read it from Evidently's snapshot JSON.

Reading needs no Evidently: words and digests are the snapshot's metadata, figures are its metrics, and the status
of its tests must agree with the words.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from compass_ops.errors import StorageError
from compass_ops.monitoring.drift import DriftVerdict, LanguageDrift
from compass_ops.storage import read_json

# Besides what a test can say: the window that Production was already updated for.
ADOPTED = "adopted"
VERDICTS = (*get_args(DriftVerdict), ADOPTED)

# Languages without a verdict file, as the stage's summary names them.
NO_PRODUCTION, NO_TRAFFIC, FAILED = "no production version", "no window", "failed"

# Names of the figures in the snapshot; `drift` is 1 where drift was found, and its test must fail exactly then.
DRIFT_FIGURE = "drift"
FIGURES = ("statistic", "debiased", "p_value", "p_raw", "n_window", "n_reference", "family")


@dataclass(frozen=True)
class Judged:
    """What a verdict is about: a window against a Production version."""

    language: str
    window: str
    version: str
    adapter_digest: str
    reference_digest: str
    embedder_digest: str


@dataclass(frozen=True)
class Verdict:
    """A verdict with its figures.

    Attributes
    ----------
    judged : Judged
    verdict : str
        ``drift``, ``no drift``, ``insufficient data`` or ``adopted``.
    sentence : str
        The verdict in words.
    statistic, debiased : float or None
        Jensen-Shannon divergence in nats, raw and less its mean under permutation.
    p_value, p_raw : float or None
        Adjusted over all languages, and of this language alone.
    n_window, n_reference : int
        Rows compared.
    family : int
        Languages tested together.
    """

    judged: Judged
    verdict: str
    sentence: str
    statistic: float | None
    debiased: float | None
    p_value: float | None
    p_raw: float | None
    n_window: int
    n_reference: int
    family: int

    @property
    def drifted(self) -> bool:
        """Whether the window calls for an update."""
        return self.verdict == "drift"


def verdict_from(judged: Judged, found: LanguageDrift) -> Verdict:
    """Attach to a finding what it is about."""
    return Verdict(
        judged,
        found.verdict,
        found.sentence,
        _rounded(found.statistic),
        _rounded(found.debiased),
        _rounded(found.p_value),
        _rounded(found.p_raw),
        found.n_window,
        found.n_reference,
        found.family,
    )


def adopted_verdict(judged: Judged, rows: tuple[int, int]) -> Verdict:
    """Return the verdict on the window that Production was updated for, which is not tested again."""
    sentence = f"Version {judged.version} was made for this window, so it is not tested against itself."
    return Verdict(judged, ADOPTED, sentence, None, None, None, None, *rows, 0)


def read_verdict(path: Path) -> Verdict:
    """Read a verdict file.

    Raises
    ------
    StorageError
        If the file is missing or malformed, or its tests contradict its words.
    """
    snapshot = read_json(path)
    try:
        metadata = snapshot["metadata"]
        figures = _figures(snapshot["metric_results"])
        judged = Judged(**metadata["judged"])
        verdict, sentence = str(metadata["verdict"]), str(metadata["sentence"])
    except (KeyError, TypeError, AttributeError) as error:
        raise StorageError(
            f"{path}: is not a verdict file ({type(error).__name__}: {error}). Delete it and run `dvc repro drift`."
        ) from error
    failed = _failed_tests(snapshot["metric_results"])
    if verdict not in VERDICTS or (verdict == "drift") != (DRIFT_FIGURE in failed):
        raise StorageError(
            f"{path}: says {verdict!r}, but its failed tests are {sorted(failed)}. It was changed by hand: "
            "delete it and run `dvc repro drift`."
        )
    return Verdict(
        judged,
        verdict,
        sentence,
        statistic=figures.get("statistic"),
        debiased=figures.get("debiased"),
        p_value=figures.get("p_value"),
        p_raw=figures.get("p_raw"),
        n_window=int(figures["n_window"]),
        n_reference=int(figures["n_reference"]),
        family=int(figures["family"]),
    )


def _rounded(value: float | None) -> float | None:
    # Far below what a permutation test resolves, far above what another machine's logarithm changes.
    return None if value is None else round(value, 9)


def _figures(results: Mapping[str, Any]) -> dict[str, Any]:
    return {_name(result): result["value"] for result in results.values()}


def _failed_tests(results: Mapping[str, Any]) -> set[str]:
    return {_name(result) for result in results.values() for test in result["tests"] if test["status"] == "FAIL"}


def _name(result: Mapping[str, Any]) -> str:
    return str(result["metric_value_location"]["metric"]["params"]["name"])

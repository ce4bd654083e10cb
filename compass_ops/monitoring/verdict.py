"""The verdict on one window of one language, as trigger, gate and registry read it from Evidently's snapshot JSON.

Reading needs no Evidently: words and digests are the snapshot's metadata, figures are its metrics, and the status
of its tests must agree with the words.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from compass_ops.errors import StorageError
from compass_ops.monitoring.action import ACTIONS, NOTHING, Response
from compass_ops.monitoring.drift import DriftVerdict, Finding, LanguageDrift
from compass_ops.monitoring.harm import Harm
from compass_ops.monitoring.measures import DIVERGENCE, STATISTICS
from compass_ops.storage import read_json

# Besides what a test can say: the window that Production was already updated for.
ADOPTED = "adopted"
VERDICTS = (*get_args(DriftVerdict), ADOPTED)

# Languages without a verdict file, as the stage's summary names them.
NO_PRODUCTION, NO_TRAFFIC, FAILED = "no production version", "no window", "failed"

# Names of figures in the snapshot; `drift` is 1 where drift was found, and its test must fail exactly then.
DRIFT_FIGURE = "drift"
HARM_FIGURE = "harm"  # the same of the harm, where it was measured
HARM_PARTS = ("before", "after", "low", "high", "level", "floor", "n", "effective_n")
COUNTS = ("n_window", "n_reference", "family")
PARTS = ("value", "effect", "p_value", "p_raw")  # of each statistic: `mmd_effect` and so on


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
        ``drift``, ``unconfirmed``, ``no drift``, ``insufficient data`` or ``adopted``.
    sentence : str
        The verdict in words.
    findings : tuple of Finding
        Of each statistic; empty where nothing was tested.
    p_value : float or None
        Smallest adjusted p-value.
    n_window, n_reference : int
        Rows compared.
    family : int
        Languages tested together.
    response : Response
        What is done about it, with the harm beside the shift.
    """

    judged: Judged
    verdict: str
    sentence: str
    findings: tuple[Finding, ...]
    p_value: float | None
    n_window: int
    n_reference: int
    family: int
    response: Response

    @property
    def drifted(self) -> bool:
        """Whether what is asked has shifted."""
        return self.verdict == "drift"

    @property
    def alarmed(self) -> bool:
        """Whether there is something to look at: a shift, or harm."""
        harm = self.response.harm
        return self.drifted or (harm is not None and harm.shown)

    @property
    def debiased(self) -> float:
        """Debiased divergence of clusters in nats; 0 where nothing was tested."""
        return next((one.effect for one in self.findings if one.statistic == DIVERGENCE), 0.0)


def verdict_from(judged: Judged, found: LanguageDrift) -> Verdict:
    """Attach to a finding what it is about."""
    findings = tuple(
        replace(
            one,
            value=_round(one.value),
            effect=_round(one.effect),
            p_value=_rounded(one.p_value),
            p_raw=_rounded(one.p_raw),
        )
        for one in found.findings
    )
    return Verdict(
        judged,
        found.verdict,
        found.sentence,
        findings,
        _rounded(found.p_value),
        found.n_window,
        found.n_reference,
        found.family,
        NOTHING,
    )


def with_response(verdict: Verdict, response: Response) -> Verdict:
    """Attach to a verdict what is done about it."""
    harm = response.harm
    if harm is not None:
        numbers: dict[str, Any] = {part: _round(getattr(harm, part)) for part in HARM_PARTS if part != "n"}
        response = replace(response, harm=replace(harm, **numbers))
    return replace(verdict, response=response)


def adopted_verdict(judged: Judged, rows: tuple[int, int]) -> Verdict:
    """Return the verdict on a window that Production, or a version before it, was made for: it is not tested again."""
    sentence = "A version that was promoted was made for this window, so the window is not tested again."
    return Verdict(judged, ADOPTED, sentence, (), None, *rows, 0, NOTHING)


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
        findings = tuple(
            Finding(
                name,
                figures[f"{name}_value"],
                figures[f"{name}_effect"],
                float(metadata["floors"][name]),
                figures.get(f"{name}_p_value"),
                figures.get(f"{name}_p_raw"),
            )
            for name in STATISTICS
            if name in metadata["floors"]
        )
        judged = Judged(**metadata["judged"])
        verdict, sentence = str(metadata["verdict"]), str(metadata["sentence"])
        response = _response(metadata, figures)
    except (KeyError, TypeError, AttributeError) as error:
        raise StorageError(
            f"{path}: is not a verdict file ({type(error).__name__}: {error}). Delete it and run `dvc repro drift`."
        ) from error
    failed = _failed_tests(snapshot["metric_results"])
    shown = response.harm is not None and response.harm.shown
    agree = (verdict == "drift") == (DRIFT_FIGURE in failed) and shown == (HARM_FIGURE in failed)
    if verdict not in VERDICTS or response.action not in ACTIONS or not agree:
        raise StorageError(
            f"{path}: says {verdict!r}, but its failed tests are {sorted(failed)}. It was changed by hand: "
            "delete it and run `dvc repro drift`."
        )
    n_window, n_reference, family = (int(figures[name]) for name in COUNTS)
    p_value = figures.get("p_value")
    return Verdict(judged, verdict, sentence, findings, p_value, n_window, n_reference, family, response)


def _response(metadata: Mapping[str, Any], figures: Mapping[str, Any]) -> Response:
    if "action" not in metadata:
        return NOTHING  # laid beside a version before there was a harm signal
    harm = None
    if HARM_FIGURE in figures:
        numbers = {part: figures[f"{HARM_FIGURE}_{part}"] for part in HARM_PARTS}
        harm = Harm(source=metadata["harm_source"], **{**numbers, "n": int(numbers["n"])})
    return Response(metadata["action"], str(metadata["action_sentence"]), harm)


def _rounded(value: float | None) -> float | None:
    return None if value is None else _round(value)


def _round(value: float) -> float:
    # Far below what a permutation test resolves, far above what another machine's logarithm changes.
    return round(value, 9)


def _figures(results: Mapping[str, Any]) -> dict[str, Any]:
    return {_name(result): result["value"] for result in results.values()}


def _failed_tests(results: Mapping[str, Any]) -> set[str]:
    return {_name(result) for result in results.values() for test in result["tests"] if test["status"] == "FAIL"}


def _name(result: Mapping[str, Any]) -> str:
    return str(result["metric_value_location"]["metric"]["params"]["name"])

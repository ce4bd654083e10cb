"""The methods of a continual update as plain data: where each starts, which terms its loss has, how strong they are.

L = L_task + lambda L_EWC + beta L_DAR (arXiv 2604.20720); a method is a choice of lambda, of beta and of what DAR is.
"""

from dataclasses import dataclass
from typing import Literal

from compass_ops.tend_sections import UpdateParams

# As the paper is reconstructed: the Fisher diagonal as it is, cross entropy alone on the anchors.
_PAPER_LAMBDA, _PAPER_BETA = 2.0, 0.1

AnchorRule = Literal["stratified", "random"]


@dataclass(frozen=True)
class Method:
    """How an adapter is updated.

    Attributes
    ----------
    from_parent : bool
        Start at the parent's weights and train on the new rows; else from the base, on all rows so far.
    ewc : float
        lambda, >= 0; 0 for no such term.
    normalised : bool
        Scale the Fisher diagonal to mean 1, so that lambda means the same for every language and batch size.
    replay : float
        beta, >= 0; 0 for no such term.
    anchors : {"stratified", "random"}
        How the rows to replay are kept: by cluster and language, or at random.
    replay_share : float
        Anchors per step as a share of the batch's rows, in (0, 1].
    temperature : float or None
        tau of the divergence from the parent that L_DAR has beside the cross entropy; None for cross entropy alone.
    interpolations : tuple of float
        Steps from the old adapter to the new one, in (0, 1], of which the best on dev is the candidate.
    """

    from_parent: bool = True
    ewc: float = 0.0
    normalised: bool = True
    replay: float = 0.0
    anchors: AnchorRule = "stratified"
    replay_share: float = 1.0
    temperature: float | None = None
    interpolations: tuple[float, ...] = (1.0,)


def method_of(params: UpdateParams) -> Method:
    """Return the method that ``params.method`` names, with the strengths of the section where it has no own."""
    share, strength = params.replay_share, params.replay_strength
    methods = {
        "naive": Method(),
        "ewc": Method(ewc=params.ewc_strength),
        "random_rehearsal": Method(replay=strength, anchors="random", replay_share=share),
        "ecda_paper": Method(ewc=_PAPER_LAMBDA, normalised=False, replay=_PAPER_BETA, replay_share=share),
        "ecda": Method(
            ewc=params.ewc_strength,
            replay=strength,
            replay_share=share,
            temperature=params.temperature,
            interpolations=tuple(params.interpolations),
        ),
        "full_retrain": Method(from_parent=False),
    }
    return methods[params.method]

"""What follows from a verdict and the harm beside it: the action table of METHOD.md 4.4.4, in words."""

from dataclasses import dataclass
from typing import Literal, get_args

from compass_ops.monitoring.harm import Harm, HarmSettings

Action = Literal["train a candidate", "log and collect labels", "page a person", "wait", "none"]
CANDIDATE, LOG, PAGE, WAIT, NONE = ACTIONS = get_args(Action)


@dataclass(frozen=True)
class Response:
    """What is done about a window.

    Attributes
    ----------
    action : str
        One of ``ACTIONS``.
    sentence : str
        The action with its reason, and the figures of the harm, for people.
    harm : Harm or None
        None where it was not measured.
    """

    action: Action
    sentence: str
    harm: Harm | None


NOTHING = Response(NONE, "Nothing is to be done.", None)


def respond(verdict: str, harm: Harm | str, settings: HarmSettings, windows_since: int | None) -> Response:
    """Choose the action.

    Shift and harm: a candidate. Shift without harm: logged, labels collected, if ``settings.required``; else a
    candidate too. Harm without shift: the answers have changed, or the service has; a person looks. A shift whose
    harm could not be measured gets a candidate: the gate, which has other items, decides. None within the cool-down.

    Parameters
    ----------
    verdict : str
        Of the drift test.
    harm : Harm or str
        Or why there is none.
    windows_since : int or None
        Windows from the one that Production was made for to the judged one; None if it was made for none,
        or for one that is not there any more.
    """
    measured, told = (
        (harm, harm_sentence(harm)) if isinstance(harm, Harm) else (None, f"Harm was not measured: {harm}.")
    )
    shown = measured is not None and measured.shown
    if verdict != "drift":
        if not shown:
            return Response(NONE, told, measured)
        why = (
            "The shift is not confirmed yet"
            if verdict == "unconfirmed"
            else "What is asked has not shifted enough for training on it to help"
        )
        return Response(PAGE, f"{told} {why}: a person should look at the answers that users corrected.", measured)
    if windows_since is not None and windows_since <= settings.cool_down:
        return Response(
            WAIT,
            f"{told} Production was made {windows_since} windows ago, within the cool-down of {settings.cool_down}: "
            "no candidate is trained yet.",
            measured,
        )
    if measured is None or shown or not settings.required:
        why = "" if measured is None or shown else " (drift.harm.required is false)"
        return Response(CANDIDATE, f"{told} A candidate is trained{why}.", measured)
    return Response(
        LOG,
        f"{told} The shift is logged and no candidate trained: label prompts of the clusters that moved, or make a "
        "version whose target they are.",
        measured,
    )


def harm_sentence(harm: Harm) -> str:
    """Say how the loss has changed."""
    rise = harm.after - harm.before
    verb = "Harm is shown" if harm.shown else "No harm is shown"
    return (
        f"{verb}: Production's loss on what is asked now is {harm.after:.3f} nats per byte of the answer, "
        f"{harm.before:.3f} on what was asked before; change {rise:+.3f}, one-sided {1 - harm.level:.4g} bounds "
        f"{harm.low:+.3f} and {harm.high:+.3f}, floor {harm.floor:g} ({harm.n} {harm.source}, effective "
        f"{harm.effective_n:.0f})."
    )

"""One base in memory for all languages: each request is answered with its language's champion, many in one batch."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from compass_ops.errors import CompassError, ModelError
from compass_ops.serving.champions import Champion, RegistryChampions
from compass_ops.serving.generate import AnswerSettings, answer_batch, batches, encode_prompts
from compass_ops.serving.slots import BARE, AdapterSlots
from compass_ops.storage import read_json
from compass_ops.training.adapter_file import read_layers
from compass_ops.training.version import MANIFEST, text_separator

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class PooledBase:
    """The base model in memory, in eval mode; its digest; the separator that it is asked with where it is alone."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    digest: str
    separator: str


@dataclass(frozen=True)
class PoolSettings:
    """Bounds of a pool.

    Attributes
    ----------
    adapters : int
        Adapters in memory at a time, >= 1; the one that was not used for longest goes first.
    ask_seconds : float
        How long a language's champion is taken for granted before the registry is asked again, >= 0.
    batch_tokens : int
        Tokens per batch, padding and answers included.
    """

    adapters: int
    ask_seconds: float
    batch_tokens: int


@dataclass(frozen=True)
class Request:
    """A prompt, and the language (BCP-47) whose adapter is to answer it."""

    language: str
    prompt: str


@dataclass(frozen=True)
class Answer:
    """What came of a request.

    Attributes
    ----------
    text : str
    version, manifest : str or None
        The champion that answered, and the digest of its manifest; None where the bare base did.
    note : str or None
        Why it is not the present champion that answered, where that is so.
    """

    text: str
    version: str | None
    manifest: str | None
    note: str | None


@dataclass(frozen=True)
class _Seat:
    """An adapter in memory."""

    champion: Champion
    slot: int
    separator: str


@dataclass(frozen=True)
class _Known:
    """Which champion is to answer for a language, when the registry was asked, and what went wrong if it did."""

    champion: Champion | None
    asked: float
    note: str | None


class AdapterPool:
    """Answers requests in any mix of languages.

    A language without a champion is answered by the bare base, and the answer says so. If the registry cannot be
    asked, or a new champion's files are damaged, the former champion goes on answering while it is in memory, and
    the answer says why; without a former one the request fails.

    Parameters
    ----------
    base : PooledBase
    champions : RegistryChampions
    settings : PoolSettings
    clock : callable
        Seconds, monotonic, such as ``time.monotonic``.
    """

    def __init__(
        self, base: PooledBase, champions: RegistryChampions, settings: PoolSettings, clock: Callable[[], float]
    ) -> None:
        self._base = base
        self._champions = champions
        self._settings = settings
        self._clock = clock
        self._slots = AdapterSlots(base.model, settings.adapters)
        self._free = list(range(settings.adapters, 0, -1))
        self._seats: OrderedDict[str, _Seat] = OrderedDict()  # by language, the one unused for longest first
        self._known: dict[str, _Known] = {}
        self._one_at_a_time = Lock()

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages whose adapters are in memory, the one unused for longest first."""
        return tuple(self._seats)

    def answer(self, requests: Sequence[Request], max_tokens: int) -> list[Answer]:
        """Answer requests, in their order; those of several languages are computed in one batch.

        Parameters
        ----------
        requests : sequence of Request, length n
        max_tokens : int
            Longest answer, in tokens.

        Raises
        ------
        RegistryError
            If nobody knows a language, or its champion cannot be had and no former one is in memory.
        ModelError
            Naming the row whose prompt cannot be answered, or both digests of a champion of another base.
        """
        settings = AnswerSettings(max_tokens, self._settings.batch_tokens)
        prompts = [request.prompt for request in requests]
        languages = list(dict.fromkeys(request.language for request in requests))
        found: dict[int, Answer] = {}
        with self._one_at_a_time:
            encoded = encode_prompts(self._base.model, self._base.tokenizer, prompts, max_tokens)
            for start in range(0, len(languages), self._settings.adapters):
                seats = self._seated(languages[start : start + self._settings.adapters])
                rows = [row for row, request in enumerate(requests) if request.language in seats]
                for places in batches([encoded[row] for row in rows], settings):
                    batch = {rows[place]: requests[rows[place]].language for place in places}
                    slots = [BARE if (seat := seats[language]) is None else seat.slot for language in batch.values()]
                    with self._slots.rows(slots) as model:
                        texts = answer_batch(model, self._base.tokenizer, [encoded[row] for row in batch], settings)
                    for (row, language), text in zip(batch.items(), texts, strict=True):
                        found[row] = self._answer(language, seats[language], text)
        return [found[row] for row in range(len(requests))]

    def _answer(self, language: str, seat: _Seat | None, text: str) -> Answer:
        note = self._known[language].note
        if seat is None:
            return Answer(text.removeprefix(self._base.separator), None, None, note)
        return Answer(text.removeprefix(seat.separator), seat.champion.version, seat.champion.manifest, note)

    def _seated(self, languages: Sequence[str]) -> dict[str, _Seat | None]:
        """Bring the champions of at most as many languages as there are slots into memory; None: the base alone."""
        for language in languages:
            if language in self._seats:
                self._seats.move_to_end(language)  # so that none of them makes room for another
        return {language: self._seat(language) for language in languages}

    def _seat(self, language: str) -> _Seat | None:
        seat, known = self._seats.get(language), self._known.get(language)
        try:
            if known is None or self._clock() - known.asked >= self._settings.ask_seconds:
                known = self._ask(language)
            if known.champion is None:
                self._leave(language)
            elif seat is None or seat.champion != known.champion:
                self._load(known.champion)
        except CompassError as error:
            if seat is None:
                raise
            note = f"{language}: version {seat.champion.version} answers for now, because: {error}"
            _LOG.warning(note)
            known = _Known(seat.champion, self._clock(), note)
        self._known[language] = known
        return self._seats.get(language)

    def _ask(self, language: str) -> _Known:
        champion = self._champions.champion(language)
        alone = f"{language}: no version is in Production; the base model answered alone."
        return _Known(champion, self._clock(), alone if champion is None else None)

    def _load(self, champion: Champion) -> None:
        """Put a champion's adapter into its language's slot, or into a free one; what was there goes last."""
        folder = self._champions.folder(champion)
        manifest = read_json(folder / MANIFEST)
        if manifest["base"]["digest"] != self._base.digest:
            raise ModelError(
                f"{champion.language}: version {champion.version} belongs to base {manifest['base']['digest']}, the "
                f"base in memory is {self._base.digest}. Start the server with that base."
            )
        layers, separator = read_layers(folder / "adapter"), text_separator(folder, manifest)
        seat = self._seats.get(champion.language)
        slot = self._free_slot() if seat is None else seat.slot
        try:
            self._slots.put(slot, layers)
        except ModelError:  # the slot is as it was
            if seat is None:
                self._free.append(slot)
            raise
        except BaseException:  # half written, as where memory ran out
            self._seats.pop(champion.language, None)
            self._slots.clear(slot)
            self._free.append(slot)
            raise
        self._seats[champion.language] = _Seat(champion, slot, separator)

    def _free_slot(self) -> int:
        if not self._free:
            self._leave(next(iter(self._seats)))
        return self._free.pop()

    def _leave(self, language: str) -> None:
        seat = self._seats.pop(language, None)
        if seat is not None:
            self._slots.clear(seat.slot)
            self._free.append(seat.slot)

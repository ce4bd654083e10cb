"""One base, many languages, against one adapter at a time on a base of its own."""

from itertools import count
from pathlib import Path
from typing import Any

import pytest

from compass_ops.errors import ModelError, RegistryError
from compass_ops.serving import slots
from compass_ops.serving.champions import Champion, RegistryChampions
from compass_ops.serving.pool import AdapterPool, Answer, PooledBase, PoolSettings, Request
from compass_ops.storage import file_digest
from compass_ops.training.version import WEIGHTS
from tests.serving.world import PROMPTS, World, slow_answers

LONGEST = 5
ASK = 60.0


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Watched(RegistryChampions):
    """Counts what the pool asks, and fails on command."""

    asked = 0
    down = False
    opened: tuple[str, ...] = ()

    def champion(self, language: str) -> Champion | None:
        self.asked += 1
        if self.down:
            raise RegistryError("the registry is down.")
        return super().champion(language)

    def folder(self, champion: Champion) -> Path:
        self.opened += (champion.language,)
        return super().folder(champion)


class Shelf(Watched):
    """Champions in folders: for what does not depend on the registry, which takes its time."""

    def __init__(self, world: World) -> None:
        super().__init__(world.store, world.root / "kept", ["sw", "zu", "ca", "hr"])
        self.world = world

    def put(self, language: str, seed: int, **lora: Any) -> None:
        self.world.write_version(self._place(language), language, seed, **lora)

    def champion(self, language: str) -> Champion | None:
        manifest = self._place(language) / "manifest.json"
        return Champion(language, "1", file_digest(manifest)) if manifest.exists() else None

    def folder(self, champion: Champion) -> Path:
        self.opened += (champion.language,)
        return self._place(champion.language)

    def _place(self, language: str) -> Path:
        return self.world.root / "shelf" / language


class Served:
    """A world and a pool on it."""

    def __init__(self, world: World, champions: Watched, adapters: int = 3) -> None:
        self.world = world
        self.clock = Clock()
        self.champions = champions
        model, tokenizer = world.load()
        base = PooledBase(model, tokenizer, world.entry.digest, " ")
        settings = PoolSettings(adapters, ASK, 4096)
        self.pool = AdapterPool(base, self.champions, settings, self.clock)

    def ask(self, *languages: str, prompt: str = PROMPTS[0]) -> list[Answer]:
        return self.pool.answer([Request(language, prompt) for language in languages], LONGEST)

    def expected(self, language: str, prompt: str = PROMPTS[0]) -> str:
        """What PEFT answers with the language's present champion alone."""
        champion = self.champions.champion(language)
        adapter = None if champion is None else self.champions.folder(champion) / "adapter"
        return slow_answers(self.world, adapter, [prompt], LONGEST)[0]


@pytest.fixture
def served(world: World) -> Served:
    return Served(world, Watched(world.store, world.root / "kept", ["sw", "zu", "ca", "hr"]))


@pytest.fixture
def shelf(world: World) -> Shelf:
    return Shelf(world)


def test_a_mixed_batch_answers_as_each_adapter_alone(world: World, shelf: Shelf) -> None:
    """LoRA, DoRA, another rank and the bare base, in one call and in any order."""
    served = Served(world, shelf)
    shelf.put("sw", 1)
    shelf.put("zu", 2, use_dora=True)
    shelf.put("ca", 3, r=7)
    requests = [Request(tag, prompt) for prompt in PROMPTS for tag in ("hr", "sw", "zu", "ca", "sw")]
    answers = served.pool.answer(requests, LONGEST)
    expected = {tag: slow_answers_of(served, tag) for tag in ("hr", "sw", "zu", "ca")}
    for request, answer in zip(requests, answers, strict=True):
        assert answer.text == expected[request.language][request.prompt], request
    assert len({tuple(texts.values()) for texts in expected.values()}) == 4, "four that answer differently"
    assert {(r.language, a.version, a.note) for r, a in zip(requests, answers, strict=True)} == {
        ("sw", "1", None),
        ("zu", "1", None),
        ("ca", "1", None),
        ("hr", None, "hr: no version is in Production; the base model answered alone."),
    }


def slow_answers_of(served: Served, language: str) -> dict[str, str]:
    champion = served.champions.champion(language)
    adapter = None if champion is None else served.champions.folder(champion) / "adapter"
    return dict(zip(PROMPTS, slow_answers(served.world, adapter, PROMPTS, LONGEST), strict=True))


def test_a_new_champion_is_picked_up_after_the_stated_interval_and_not_before(served: Served) -> None:
    served.world.promote("sw", 1)
    old = served.expected("sw")
    assert served.ask("sw")[0].text == old
    asked = served.champions.asked
    served.world.promote("sw", 2)
    served.clock.now += ASK - 0.1
    assert (served.ask("sw")[0].version, served.ask("sw")[0].text) == ("1", old)
    assert served.champions.asked == asked, "the registry is not asked for every request"
    served.clock.now += 0.1
    new = served.ask("sw")[0]
    assert (new.version, new.text) == ("2", served.expected("sw"))
    assert new.text != old
    served.world.rollback("sw")
    served.clock.now += ASK
    assert (served.ask("sw")[0].version, served.ask("sw")[0].text) == ("1", old)


def test_the_first_champion_of_a_language_ends_the_bases_answers(served: Served) -> None:
    bare = served.ask("sw")[0]
    assert (bare.version, bare.text) == (None, served.expected("sw"))
    served.world.promote("sw", 1)
    served.clock.now += ASK
    first = served.ask("sw")[0]
    assert (first.version, first.note, first.text) == ("1", None, served.expected("sw"))
    assert first.text != bare.text


def test_the_one_unused_for_longest_goes_first(world: World, shelf: Shelf) -> None:
    served = Served(world, shelf, adapters=2)
    tags = ("sw", "zu", "ca")
    for seed, language in enumerate(tags, start=1):
        shelf.put(language, seed)
    served.ask("sw"), served.ask("zu"), served.ask("sw")
    assert served.pool.languages == ("zu", "sw")
    served.ask("ca")
    assert served.pool.languages == ("sw", "ca")
    assert [answer.text for answer in served.ask("zu", "sw", "ca")] == [
        served.expected(language) for language in ("zu", "sw", "ca")
    ], "more languages than slots in one call"
    assert len(served.pool.languages) == 2


def test_those_of_one_batch_do_not_make_room_for_one_another(world: World, shelf: Shelf) -> None:
    served = Served(world, shelf, adapters=2)
    for seed, language in enumerate(("sw", "zu", "ca"), start=1):
        shelf.put(language, seed)
    served.ask("sw"), served.ask("zu")
    served.ask("ca", "sw")
    assert served.champions.opened == ("sw", "zu", "ca"), "sw stayed where it was"


def test_an_exception_in_a_mixed_batch_gives_nobody_anothers_adapter(world: World, shelf: Shelf) -> None:
    served = Served(world, shelf)
    shelf.put("sw", 1)
    shelf.put("zu", 2)
    expected = [answer.text for answer in served.ask("sw", "zu", "hr")]
    model = served.pool._base.model

    def fail(*_: Any) -> None:
        raise MemoryError("injected")

    broken = model.model.layers[1].register_forward_pre_hook(fail)
    with pytest.raises(MemoryError, match="injected"):
        served.ask("zu", "zu", "sw")
    broken.remove()
    assert [answer.text for answer in served.ask("sw", "zu", "hr")] == expected


@pytest.mark.parametrize("seated", [False, True])
def test_a_slot_that_was_half_written_is_empty_and_not_lost(
    world: World, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, seated: bool
) -> None:
    """The device's memory runs out at the second layer, while a language's first adapter is loaded, or its next."""
    served = Served(world, shelf, adapters=2)
    shelf.put("sw", 1)
    shelf.put("zu", 2)
    served.ask("zu", "sw") if seated else served.ask("zu")
    shelf.put("sw", 3)
    served.clock.now += 2 * ASK
    write, writes = slots._Stack.write, count()

    def full(self: Any, *what: Any) -> None:
        if next(writes) == 1:
            raise MemoryError("injected")
        write(self, *what)

    with monkeypatch.context() as patch, pytest.raises(MemoryError, match="injected"):
        patch.setattr(slots._Stack, "write", full)
        served.ask("sw")
    assert list(served.pool.languages) == ["zu"]
    assert [answer.text for answer in served.ask("zu", "sw")] == [served.expected("zu"), served.expected("sw")]
    assert served.pool.languages == ("zu", "sw"), "nobody had to make room"


def test_a_registry_that_is_down_leaves_the_former_champion_and_says_so(served: Served) -> None:
    served.world.promote("sw", 1)
    served.ask("sw")
    served.champions.down = True
    with pytest.raises(RegistryError, match="the registry is down"):
        served.ask("zu")
    served.clock.now += ASK
    answer = served.ask("sw")[0]
    assert (answer.version, answer.note) == (
        "1",
        "sw: version 1 answers for now, because: the registry is down.",
    )
    served.champions.down = False
    served.clock.now += ASK
    assert served.ask("sw")[0].note is None


def test_a_damaged_new_champion_leaves_the_former_one_and_says_so(served: Served) -> None:
    served.world.promote("sw", 1)
    old = served.ask("sw")[0]
    served.world.promote("sw", 2)
    weights = Path(served.world.store.read_language("sw").versions["2"].source.removeprefix("file://")) / WEIGHTS
    content = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(b"altered")
    served.clock.now += ASK
    answer = served.ask("sw")[0]
    assert (answer.version, answer.text) == ("1", old.text)
    assert "adapter/adapter_model.safetensors was altered" in str(answer.note)
    weights.write_bytes(content)
    served.clock.now += ASK
    assert served.ask("sw")[0].version == "2"
    assert len(served.pool._free) == 2, "no slot was lost"


def test_a_champion_of_another_base_is_refused_with_both_digests(world: World, shelf: Shelf) -> None:
    served = Served(world, shelf)
    shelf.put("sw", 1)
    served.pool._base = PooledBase(served.pool._base.model, served.pool._base.tokenizer, "0" * 64, " ")
    with pytest.raises(ModelError, match=f"belongs to base {served.world.entry.digest}, the base in memory is 0{{64}}"):
        served.ask("sw")
    assert len(served.pool._free) == 3


def test_an_adapter_that_is_more_than_lora_is_named(world: World, shelf: Shelf) -> None:
    served = Served(world, shelf)
    shelf.put("sw", 1, alora_invocation_tokens=[5])
    with pytest.raises(ModelError, match=r"must be plain LoRA or DoRA on linear layers; got alora_invocation"):
        served.ask("sw")
    assert served.pool.languages == ()


@pytest.mark.parametrize(
    ("language", "prompt", "told"),
    [
        ("swa", "x", "Did you mean sw"),
        ("sw", "", "row 1: the prompt must be a text"),
        ("sw", "x" * 300, r"row 1: the prompt has \d+ tokens .* takes 128 together"),
    ],
)
def test_what_cannot_be_answered_is_named(served: Served, language: str, prompt: str, told: str) -> None:
    with pytest.raises((ModelError, RegistryError), match=told):
        served.pool.answer([Request("zu", "fine"), Request(language, prompt)], LONGEST)


def test_nothing_asked_nothing_answered(served: Served) -> None:
    assert served.pool.answer([], LONGEST) == []

import pytest

from compass_ops.errors import RegistryError
from compass_ops.registry.tracking import open_client
from compass_ops.serving.champions import RegistryChampions
from compass_ops.storage import file_digest, file_digests
from compass_ops.training.version import WEIGHTS
from tests.serving.world import World


@pytest.fixture
def champions(world: World) -> RegistryChampions:
    return RegistryChampions(world.store, world.root / "kept", ["sw", "zu"])


def test_the_champion_is_the_registrys_whoever_moves_it(world: World, champions: RegistryChampions) -> None:
    assert champions.champion("sw") is None
    world.promote("sw", 1)
    first = champions.champion("sw")
    world.promote("sw", 2)
    second = champions.champion("sw")
    assert first is not None
    assert second is not None
    assert (first.version, second.version) == ("1", "2")
    assert first.manifest != second.manifest
    world.rollback("sw")
    assert champions.champion("sw") == first


def test_files_are_fetched_once_and_again_if_damaged_here(world: World, champions: RegistryChampions) -> None:
    world.promote("sw", 1)
    champion = champions.champion("sw")
    assert champion is not None
    folder = champions.folder(champion)
    assert file_digest(folder / "manifest.json") == champion.manifest
    before, place = file_digests(folder), folder.stat().st_ino
    assert champions.folder(champion).stat().st_ino == place, "the same folder, not fetched again"
    (folder / WEIGHTS).write_bytes(b"damaged")
    assert file_digests(champions.folder(champion)) == before
    assert folder.stat().st_ino != place


def test_an_unknown_language_is_offered_the_nearest(world: World, champions: RegistryChampions) -> None:
    world.promote("pt-BR", 1)
    world.refuse("ca", 2)
    assert champions.champion("ca") is None, "known, and nothing is in Production"
    with pytest.raises(RegistryError, match=r"swa: has no registered adapter\. Did you mean sw or ca\?"):
        champions.champion("swa")
    with pytest.raises(RegistryError, match="Did you mean pt-BR"):
        champions.champion("pt")
    with pytest.raises(RegistryError, match="is not a language tag"):
        champions.champion("../sw")


def test_a_deleted_champion_is_named(world: World, champions: RegistryChampions) -> None:
    world.promote("sw", 1)
    open_client(world.store.location).delete_model_version("compass-sw", "1")
    with pytest.raises(RegistryError, match="sw: version 1 is in Production but was deleted from the registry"):
        champions.champion("sw")


def test_a_version_that_is_gone_between_two_looks_is_named(world: World, champions: RegistryChampions) -> None:
    world.promote("sw", 1)
    champion = champions.champion("sw")
    assert champion is not None
    open_client(world.store.location).delete_model_version("compass-sw", "1")
    with pytest.raises(RegistryError, match="sw version 1: is gone from the registry, and no copy is kept here"):
        champions.folder(champion)

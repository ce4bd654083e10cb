from datetime import datetime, timedelta

import pytest

from compass_ops.errors import ConflictError
from compass_ops.registry.artifacts import files_at
from compass_ops.registry.collect import archive_unlisted, discard_leftovers, found_leftovers, unlisted
from compass_ops.registry.history import Entry, LanguageState, after
from compass_ops.registry.mirror import LanguageView, Version
from compass_ops.registry.retention import leftovers
from compass_ops.registry.store import RegistryStore
from compass_ops.registry.tracking import experiment_id, open_client
from compass_ops.registry.versions import verify_version
from tests.registry.conftest import Decisions, ask
from tests.registry.test_reconcile import promote, run, shown

TODAY = "2026-11-24T10:00:00+00:00"


def day(number: int) -> str:
    """Return a time ``number`` days before today."""
    return (datetime.fromisoformat(TODAY) - timedelta(days=number)).isoformat()


def language(*steps: tuple[str, str, str, int], registered: int = 400) -> LanguageView:
    """Return a language after steps (kind, version, to, days ago); versions 1 to 6 were registered 400 days ago."""
    state = LanguageState("sw")
    for kind, version, target, ago in steps:
        entry = Entry(
            "sw", kind, "ci", day(ago), "", version, version * 64, state.stages.get(version, "None"), target,
            replaces=state.production if target == "Production" else None, previous=state.head,
        )  # fmt: skip
        state = after(state, entry)
    created = int(datetime.fromisoformat(day(registered)).timestamp() * 1000)
    versions = {
        number: Version(number, state.stages.get(number, "None"), "file:///x", "run", {}, created)
        for number in "123456"
    }
    return LanguageView(state, versions)


def test_champions_candidates_and_the_way_back_stay_others_go_when_their_time_is_over() -> None:
    view = language(
        ("promoted", "1", "Production", 300),
        ("promoted", "2", "Production", 200),  # 1 left Production 200 days ago
        ("refused", "4", "Archived", 150),
        ("promoted", "3", "Production", 120),  # 2 left Production 120 days ago: the way back
        ("staged", "5", "Staging", 110),
    )
    assert [(found.version, found.reason) for found in leftovers(view, TODAY, 90)] == [
        ("1", "champion, last needed 2026-05-08"),
        ("4", "Archived, last needed 2026-06-27"),
        ("6", "never decided on, last needed 2025-10-20"),
    ]
    assert [found.version for found in leftovers(view, TODAY, 180)] == ["1", "6"]
    assert [found.version for found in leftovers(view, TODAY, 365)] == ["6"]
    assert leftovers(view, TODAY, 401) == []


def test_what_left_production_lately_stays_however_old_it_is() -> None:
    steps = [("promoted", number, "Production", ago) for number, ago in zip("1234", (390, 380, 10, 5), strict=True)]
    assert [found.version for found in leftovers(language(*steps), TODAY, 90)] == ["1", "5", "6"]
    assert [found.version for found in leftovers(language(*steps), TODAY, 8)] == ["1", "2", "5", "6"]


def test_a_language_without_champion_keeps_its_last_one() -> None:
    view = language(("promoted", "1", "Production", 300), ("retired", "1", "Archived", 200))
    assert "1" not in [found.version for found in leftovers(view, TODAY, 90)]


@pytest.mark.parametrize("killed_after", ["append", "delete_folder", None])
def test_discarding_deletes_the_files_and_the_history_remembers(
    store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch, killed_after: str | None
) -> None:
    champion = promote(store, decisions, "sw", 1)
    decisions.decide("sw", decisions.candidate("sw", 2), "refuse", against=("1", champion))
    run(store, decisions)
    version = store.read_language("sw").versions["2"]
    assert found_leftovers(store, 90) == []
    found = found_leftovers(store, 0)
    assert [(one.language, one.version) for one in found] == [("sw", "2")]
    if killed_after is not None:

        def die(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            if killed_after == "append":
                patch.setattr(RegistryStore, "discard", die)
            else:
                patch.setattr("mlflow.tracking.MlflowClient.delete_model_version", die)
            discard_leftovers(store, found, 0)
        view = store.read_language("sw")
        assert (view.state.discarded, "2" in view.versions) == (frozenset("2"), True)
        store.discard("sw", version)
    else:
        discard_leftovers(store, found, 0)
    view = store.read_language("sw")
    assert (sorted(view.versions), view.state.discarded, view.state.production) == (["1"], frozenset("2"), "1")
    assert not store.has_files(version)
    assert open_client(store.location).get_run(version.run_id).info.lifecycle_stage == "deleted"
    assert view.state.entries[-1].kind == "discarded"
    store.fetch(view.versions["1"], store.location.root / "fetched")
    assert verify_version(store.location.root / "fetched")["digest"] == champion
    assert found_leftovers(store, 0) == []


def test_a_version_that_a_rollback_needs_again_is_kept(store: RegistryStore, decisions: Decisions) -> None:
    for seed in (1, 2, 3):
        promote(store, decisions, "sw", seed)
    found = found_leftovers(store, 0)
    assert [one.version for one in found] == ["1"]
    ask(store, "rolled back", "sw")  # to 2, before which there is 1
    with pytest.raises(ConflictError, match=r"sw: version 1 is needed again.*compass status"):
        discard_leftovers(store, found, 0)
    assert store.has_files(store.read_language("sw").versions["1"])
    assert ask(store, "rolled back", "sw").version == "1"


@pytest.mark.parametrize("source", ["a logged model", "a run's", "compass:/nowhere"])
def test_of_a_version_that_was_registered_past_compass_the_row_alone_goes(
    store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    promote(store, decisions, "sw", 1)
    client = open_client(store.location)
    experiment = experiment_id(client, store.location)
    run = client.create_run(experiment)
    client.log_text(run.info.run_id, "somebody's", "model/weights.txt")
    theirs, model = f"{run.info.artifact_uri}/model", None
    if source == "a logged model":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", store.location.uri)  # where MLflow looks for the model
        model = client.create_logged_model(experiment, source_run_id=run.info.run_id).model_id
        source = f"models:/{model}"
    source = theirs if source == "a run's" else source
    client.create_model_version("compass-sw", source, run.info.run_id, model_id=model)  # a server asks for its id
    discard_leftovers(store, found_leftovers(store, 0), 0)
    view = store.read_language("sw")
    assert (sorted(view.versions), view.state.discarded) == (["1"], frozenset("2"))
    assert client.get_run(run.info.run_id).info.lifecycle_stage == "active"
    assert list(files_at(store.location, theirs)) == ["weights.txt"]


def test_discarding_a_version_leaves_the_files_that_it_shares_with_the_champion(
    store: RegistryStore, decisions: Decisions
) -> None:
    """MLflow's client repeats a registration whose answer was lost: two versions with one run."""
    promote(store, decisions, "sw", 1)
    champion = store.read_language("sw").versions["1"]
    tags = {f"compass.{key}": value for key, value in champion.tags.items()}
    open_client(store.location).create_model_version("compass-sw", champion.source, champion.run_id, tags)
    discard_leftovers(store, found_leftovers(store, 0), 0)
    view = store.read_language("sw")
    assert list(view.versions) == ["1"]
    store.fetch(view.versions["1"], store.location.root / "fetched")
    assert open_client(store.location).get_run(champion.run_id).info.lifecycle_stage == "active"


def test_languages_that_params_name_no_longer_are_archived_together(store: RegistryStore, decisions: Decisions) -> None:
    for name in ("hr", "sw", "tr"):
        promote(store, decisions, name, 1)
    promote(store, decisions, "sw", 2)
    ask(store, "staged", "sw", version="1")
    found = unlisted(store.read(), ["hr", "zu"])
    assert found == {"sw": ["2", "1"], "tr": ["1"]}
    archive_unlisted(store, found, "not asked for any more")
    assert unlisted(store.read(), ["hr", "zu"]) == {}
    assert [shown(store, name) for name in ("sw", "tr")] == [
        ({"1": "Archived", "2": "Archived"}, {}),
        ({"1": "Archived"}, {}),
    ]
    assert shown(store, "hr")[1] == {"champion": "1"}
    assert ask(store, "rolled back", "sw").version == "2"

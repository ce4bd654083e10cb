from compass_ops.registry.describe import Difference, describe, differences
from compass_ops.registry.store import RegistryStore
from tests.registry.conftest import BASE, Decisions
from tests.registry.test_reconcile import promote


def test_a_version_is_told_with_its_lineage_data_params_metrics_and_history(
    store: RegistryStore, decisions: Decisions
) -> None:
    digest = promote(store, decisions, "sw", 1)
    promote(store, decisions, "sw", 2, window="0002")
    view = store.read_language("sw")
    with store.opened(view.versions["1"]) as folder:
        told = describe(folder, view, "1")
    assert (told["language"], told["version"], told["stage"], told["aliases"]) == ("sw", "1", "Archived", [])
    assert told["lineage"]["digest"] == digest
    assert told["lineage"]["base"] == {key: BASE[key] for key in ("id", "revision", "digest")}
    assert told["data"] == {"subset_digest": "5" * 64, "window": None}
    assert told["params"] == {"r": 2}
    assert told["metrics"] == {"better on new": {"estimate": 0.04, "low": 0.01, "passed": True}}
    assert told["decision"]["verdict"] == "promote"
    assert "adapter/adapter_model.safetensors" in told["files"]
    assert [(entry["kind"], entry["version"]) for entry in told["history"]] == [("promoted", "1"), ("promoted", "2")]


def test_differences_are_named_by_part_in_a_fixed_order() -> None:
    first = {
        "metrics": {"better on new": {"estimate": 0.1}},
        "data": {"window": None},
        "params": {"r": 8, "alpha": 16},
        "lineage": {"base": {"id": "a", "digest": "1"}},
        "files": {"x.json": "1"},
    }
    second = {
        "metrics": {"better on new": {"estimate": 0.2}, "guard": {"estimate": 0.0}},
        "data": {"window": "0002"},
        "params": {"r": 16, "alpha": 16},
        "lineage": {"base": {"id": "a", "digest": "2"}},
        "files": {"y.json": "1"},
    }
    assert differences(first, first) == []
    assert differences(first, second) == [
        Difference("metrics", "better on new / estimate", 0.1, 0.2),
        Difference("metrics", "guard / estimate", None, 0.0),
        Difference("data", "window", None, "0002"),
        Difference("params", "r", 8, 16),
        Difference("lineage", "base / digest", "1", "2"),
        Difference("files", "x.json", "1", None),
        Difference("files", "y.json", None, "1"),
    ]

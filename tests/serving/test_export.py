"""`compass export`, end to end on a real registry."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file

from compass_ops.cli.main import main
from compass_ops.registry.tracking import open_client
from compass_ops.serving.champions import RegistryChampions
from compass_ops.storage import file_digest, file_digests, read_json, write_json, write_table
from compass_ops.training.adapter import attach
from compass_ops.training.version import WEIGHTS
from tests.serving.world import PROMPTS, World

ADAPTER = "adapter_model.safetensors"


def export(world: World, *arguments: str) -> Result:
    return CliRunner().invoke(
        main, ["--uri", world.store.location.uri, "export", *arguments, "--out", str(world.root / "out")]
    )


def exported(world: World, name: str) -> Path:
    return world.root / "out" / name


def registered(world: World, language: str = "sw") -> Path:
    champions = RegistryChampions(world.store, world.root / "kept", [])
    champion = champions.champion(language)
    assert champion is not None
    return champions.folder(champion)


def engine_logits(world: World, folder: Path) -> torch.Tensor:
    """The base with lora_alpha / r B A merged into its weights: the rule of vLLM's loader, and its demands."""
    config, tensors = read_json(folder / "adapter_config.json"), load_file(folder / ADAPTER)
    assert not (config["use_dora"] or config["modules_to_save"] or config["bias"] != "none")
    assert isinstance(config["r"], int)
    assert {name.split(".")[-3] for name in tensors} == set(config["target_modules"])
    model, tokenizer = world.load()
    for name in {name.rsplit(".lora_", 1)[0] for name in tensors}:
        linear = model.get_submodule(name.removeprefix("base_model.model."))
        up, down = tensors[f"{name}.lora_B.weight"], tensors[f"{name}.lora_A.weight"]
        assert up.shape[1] == down.shape[0] <= config["r"]
        linear.weight.data += config["lora_alpha"] / config["r"] * up @ down
    with torch.no_grad():
        return model(**tokenizer(PROMPTS[0], return_tensors="pt")).logits


def peft_logits(world: World, folder: Path) -> torch.Tensor:
    model, tokenizer = world.load()
    with torch.no_grad():
        return attach(model, folder)(**tokenizer(PROMPTS[0], return_tensors="pt")).logits


def put_items(world: World, language: str = "sw") -> Path:
    """The project's dev half, where `--check` looks if nothing else is named."""
    folder = world.root / "build" / "ingest" / "dev"
    choices = [["Tuesday", "Friday", "x"], ["koruna", "euro"], ["b", "c"]] * 4
    table = {"prompt": PROMPTS[:3] * 4, "choices": choices, "answer": pa.array([0, 1, None] * 4, pa.int64())}
    write_table(folder / f"{language}.parquet", pa.table(table))
    return folder


@pytest.fixture
def fleet(world: World) -> World:
    """The world as a project has it: what was pinned stands in build/base/base.json."""
    write_json(world.root / "build" / "base" / "base.json", {"model": world.entry.as_json()})
    return world


def test_a_lora_is_exported_as_it_is_and_computes_the_same(fleet: World) -> None:
    fleet.promote("sw", 1)
    done = export(fleet, "sw")
    assert (done.exit_code, done.stdout) == (0, "sw: version 1 (champion), rank 4.\n")
    folder, source = exported(fleet, "compass-sw@champion"), registered(fleet)
    assert sorted(path.name for path in folder.iterdir()) == ["adapter_config.json", ADAPTER, "export.json"]
    own, before = load_file(folder / ADAPTER), load_file(source / WEIGHTS)
    assert {name: w.tolist() for name, w in own.items()} == {name: w.tolist() for name, w in before.items()}
    torch.testing.assert_close(
        engine_logits(fleet, folder), peft_logits(fleet, source / "adapter"), atol=2e-5, rtol=1e-5
    )
    torch.testing.assert_close(peft_logits(fleet, folder), peft_logits(fleet, source / "adapter"), atol=2e-5, rtol=1e-5)
    record = read_json(folder / "export.json")
    assert record["adapter"] == read_json(source / "manifest.json")["digest"]
    assert record["files"] == {name: file_digest(folder / name) for name in ("adapter_config.json", ADAPTER)}
    assert read_json(folder / "adapter_config.json")["base_model_name_or_path"] == fleet.entry.id


def test_the_same_export_twice_is_the_same_bytes(fleet: World) -> None:
    fleet.promote("sw", 1, use_dora=True)
    export(fleet, "sw", "--max-rank", "32")
    first = file_digests(fleet.root / "out")
    export(fleet, "sw", "--max-rank", "32")
    assert file_digests(fleet.root / "out") == first


def test_dora_becomes_lora_and_the_loss_is_measured_and_bounded(fleet: World) -> None:
    fleet.promote("sw", 1, use_dora=True)
    whole = export(fleet, "sw", "--max-rank", "32", "--json")
    assert whole.exit_code == 0, whole.output
    (record,) = json.loads(whole.stdout)
    assert (record["converted"], record["rank"]) == (True, 32)
    assert record["divergence_nats"] < 1e-5, "full rank loses nothing"
    before = file_digests(fleet.root / "out")
    folder = exported(fleet, "compass-sw@champion")
    torch.testing.assert_close(
        engine_logits(fleet, folder), peft_logits(fleet, registered(fleet) / "adapter"), atol=1e-4, rtol=1e-4
    )
    (record,) = json.loads(export(fleet, "sw", "--max-rank", "2", "--max-divergence", "9", "--json").stdout)
    lost = record["divergence_nats"]
    assert (record["rank"], lost > 1e-4) == (2, True)
    assert export(fleet, "sw", "--max-rank", "32").exit_code == 0
    refused = export(fleet, "sw", "--max-rank", "2", "--max-divergence", str(lost / 2))
    assert refused.exit_code == 1
    assert f"sw: as LoRA of rank 2 it diverges by {lost:.4g} nats per token" in refused.output
    assert f"at most {lost / 2:g} are allowed. Raise --max-rank" in refused.output
    assert file_digests(fleet.root / "out") == before


def test_check_scores_what_was_written(fleet: World) -> None:
    fleet.promote("sw", 1)
    put_items(fleet)
    done = export(fleet, "sw", "--check")
    assert done.exit_code == 0, done.output
    assert "the same choice on 100.0% of 12 items, accuracy" in done.output
    check = read_json(exported(fleet, "compass-sw@champion") / "export.json")["check"]
    assert (check["items"], check["labelled"], check["agreement"]) == (12, 8, 1.0)
    assert check["largest_difference_nats"] < 1e-4


def test_check_refuses_what_lost_too_much(fleet: World) -> None:
    """Gold is what the registered DoRA answers; what a rank of 1 leaves of it answers otherwise."""
    from compass_ops.evaluation.score import ScoreSettings, score_choices

    fleet.promote("sw", 1, use_dora=True)
    prompts = [f"{prompt} {number}" for prompt in PROMPTS for number in range(8)]
    choices = [["Tuesday", "koruna", "b", "x", "दिन"]] * len(prompts)
    model, tokenizer = fleet.load()
    adapted = attach(model, registered(fleet) / "adapter")
    scores = score_choices(adapted, tokenizer, prompts, choices, ScoreSettings(" ", 64, 4096))
    gold = [int(own.argmax()) for own in scores]
    table = pa.table({"prompt": prompts, "choices": choices, "answer": pa.array(gold, pa.int64())})
    write_table(fleet.root / "mine" / "sw.parquet", table)
    arguments = ["sw", "--max-rank", "1", "--max-divergence", "99", "--check", "--items", str(fleet.root / "mine")]
    refused = export(fleet, *arguments)
    assert refused.exit_code == 1
    assert "sw: on 40 items the exported adapter is right in 0." in refused.output
    assert "the registered one in 1.000; at most 0.01 may be lost" in refused.output
    assert not (fleet.root / "out").exists()
    assert export(fleet, *arguments, "--max-drop", "1").exit_code == 0


def test_several_languages_all_or_nothing(fleet: World) -> None:
    fleet.promote("sw", 1)
    export(fleet, "sw")
    before = file_digests(fleet.root / "out")
    fleet.promote("sw", 2)
    fleet.promote("zu", 3, r=20)
    fleet.promote("ca", 4, target_modules=["lm_head"])
    refused = export(fleet, "sw", "zu", "ca", "--max-rank", "8")
    assert refused.exit_code == 1
    assert "zu: the adapter has rank 20, the engine is to take at most 8" in refused.output
    assert "ca: lm_head (1 such layers): engines take adapters on" in refused.output
    assert "Nothing was exported." in refused.output
    assert file_digests(fleet.root / "out") == before
    assert list(fleet.root.glob(".out*")) == []

    assert export(fleet, "zu", "--max-rank", "20").exit_code == 0
    names = sorted(path.name for path in (fleet.root / "out").iterdir())
    assert names == ["compass-sw@champion", "compass-zu@champion"], "one language leaves the others where they are"
    assert read_json(exported(fleet, "compass-sw@champion") / "export.json")["version"] == "1"


def test_all_leaves_nothing_else(fleet: World) -> None:
    fleet.promote("sw", 1)
    fleet.promote("zu", 2, rank_pattern={"o_proj": 2})
    fleet.refuse("ca", 3)
    export(fleet, "sw")
    (fleet.root / "out" / "compass-sw@champion").rename(fleet.root / "out" / "compass-hr@champion")
    done = export(fleet, "--all")
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (fleet.root / "out").iterdir()) == [
        "compass-sw@champion",
        "compass-zu@champion",
    ]
    torch.testing.assert_close(
        engine_logits(fleet, exported(fleet, "compass-zu@champion")),
        peft_logits(fleet, registered(fleet, "zu") / "adapter"),
        atol=2e-5,
        rtol=1e-5,
    )


def test_a_folder_of_others_is_not_replaced(fleet: World) -> None:
    fleet.promote("sw", 1)
    (fleet.root / "out").mkdir()
    (fleet.root / "out" / "thesis.tex").write_text("years of work")
    refused = export(fleet, "sw")
    assert refused.exit_code == 1
    assert "holds thesis.tex, which `compass export` did not write" in refused.output
    assert (fleet.root / "out" / "thesis.tex").read_text() == "years of work"


def test_altered_files_and_another_base_are_refused(fleet: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.promote("sw", 1, use_dora=True)
    (fleet.root / "build" / "base" / "base.json").unlink()
    refused = export(fleet, "sw")
    assert "this base model is in no hub. Set COMPASS_BASE" in refused.output
    other = fleet.root / "other"
    from tests.tiny_models import save_tiny_model

    save_tiny_model("llama", other, seed=1)
    refused = export(fleet, "sw", "--base", str(other))
    assert refused.exit_code == 1
    assert f"expected {fleet.entry.digest}" in refused.output
    assert export(fleet, "sw", "--base", str(fleet.base), "--max-rank", "32").exit_code == 0
    weights = Path(fleet.store.read_language("sw").versions["1"].source.removeprefix("file://")) / WEIGHTS
    weights.unlink()
    weights.write_bytes(b"altered")
    refused = export(fleet, "sw", "--base", str(fleet.base))
    assert "sw: " in refused.output
    assert "adapter_model.safetensors was altered" in refused.output


def test_wrong_calls(fleet: World) -> None:
    fleet.promote("sw", 1)
    fleet.refuse("ca", 2)
    for arguments, code, told in (
        (["swa"], 1, "swa: has no registered adapter. Did you mean sw or ca?"),
        (["../x"], 1, "is not a language tag"),
        (["ca"], 1, "ca: has no champion"),
        (["sw", "--alias", "candidate"], 1, "sw: has no candidate"),
        (["--all", "--alias", "candidate"], 1, "No language has a candidate"),
        (["sw", "--check"], 1, "sw.parquet: does not exist. Give --items"),
        ([], 2, "Name one or more languages, or give --all."),
        (["sw", "--all"], 2, "Name one or more languages, or give --all."),
        (["sw", "--items", "x"], 2, "--items is for --check."),
        (["sw", "--max-rank", "0"], 2, "--max-rank"),
    ):
        done = export(fleet, *arguments)
        assert (done.exit_code, told in done.output) == (code, True), done.output
        assert "Traceback" not in done.output
        assert not (fleet.root / "out").exists()


def test_a_champion_that_was_deleted_is_no_missing_one(fleet: World) -> None:
    fleet.promote("sw", 1)
    open_client(fleet.store.location).delete_model_version("compass-sw", "1")
    assert "sw: version 1, its champion, was deleted from the registry" in export(fleet, "sw").output


def test_the_engines_name_of_the_base_stands_in_the_config(fleet: World) -> None:
    """vLLM's directory resolver takes an adapter only if that name is the one it was started with."""
    fleet.promote("sw", 1)
    assert export(fleet, "sw", "--served-base", "Qwen/Qwen2.5-7B").exit_code == 0
    config = read_json(exported(fleet, "compass-sw@champion") / "adapter_config.json")
    assert (config["peft_type"], config["base_model_name_or_path"]) == ("LORA", "Qwen/Qwen2.5-7B")

"""The command that writes adapters for a serving engine."""

import gc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compass_ops.cli.options import all_option, json_option, languages_argument, print_json
from compass_ops.cli.project import Project
from compass_ops.errors import ModelError

if TYPE_CHECKING:
    import pyarrow as pa

    from compass_ops.model_files import ModelEntry

_OPTIONS = (
    languages_argument,
    all_option,
    click.option(
        "--out", type=click.Path(path_type=Path), required=True, help="Folder to write; it holds exports only."
    ),
    click.option("--alias", type=click.Choice(["champion", "candidate"]), default="champion", show_default=True),
    click.option(
        "--max-rank",
        type=click.IntRange(min=1),
        default=16,
        show_default=True,
        help="Highest rank that the engine takes (vLLM: --max-lora-rank, 16 unless set).",
    ),
    click.option("--served-base", help="The base's name in the engine; the base's id if not given."),
    click.option(
        "--base", envvar="COMPASS_BASE", help="Folder of the base; the project's own, or the hub's, if not given."
    ),
    click.option(
        "--max-divergence",
        type=click.FloatRange(min=0),
        default=0.01,
        show_default=True,
        help="Most nats per token that a DoRA adapter may lose by conversion to LoRA.",
    ),
    click.option("--check", is_flag=True, help="Score the exported adapter on the language's items, and compare."),
    click.option(
        "--items",
        type=click.Path(path_type=Path),
        help="Folder of <language>.parquet for --check; the project's dev half if not given.",
    ),
    click.option(
        "--max-drop",
        type=click.FloatRange(min=0, max=1),
        default=0.01,
        show_default=True,
        help="Most accuracy that may be lost on the items.",
    ),
    json_option,
)


def _with_options(function: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@click.command()
@_with_options
@click.pass_obj
def export(project: Project, /, **options: Any) -> None:
    """Write adapters for a serving engine: OUT/compass-LANGUAGE@ALIAS/, as vLLM loads them.

    \b
      compass export sw tr --out exported
      compass export --all --out exported --check

    Several languages are exported together or not at all; --all means those that have a version at the alias. DoRA is
    converted to LoRA, which loses something: how much is measured on the version's own anchors, and refused above
    --max-divergence.
    """
    from compass_ops.serving.export import Exporter, ExportSettings

    if bool(options["languages"]) == options["everything"]:
        raise click.UsageError("Name one or more languages, or give --all.")
    if options["items"] is not None and not options["check"]:
        raise click.UsageError("--items is for --check.")
    gc.enable()  # models are large, and one is left behind per language
    names = ("alias", "max_rank", "served_base", "max_divergence", "max_drop")
    settings = ExportSettings(**{name: options[name] for name in names})
    items = _items(options["items"] or project.root / "build" / "ingest" / "dev") if options["check"] else None
    exporter = Exporter(project.store, settings, _finder(options["base"], project.root), items)
    records = exporter.export(None if options["everything"] else options["languages"], options["out"])
    if options["as_json"]:
        print_json(records)
        return
    for record in records:
        click.echo(_sentence(record))


def _sentence(record: Mapping[str, Any]) -> str:
    told = f"{record['language']}: version {record['version']} ({record['alias']}), rank {record['rank']}"
    if record["converted"]:
        told += f", converted from DoRA at {record['divergence_nats']:.2g} nats per token"
    if check := record["check"]:
        told += f"; the same choice on {check['agreement']:.1%} of {check['items']} items"
        if check["labelled"]:
            told += f", accuracy {check['registered_accuracy']:.3f} before, {check['exported_accuracy']:.3f} after"
    return f"{told}."


def _finder(folder: str | None, root: Path) -> "Callable[[Mapping[str, str | None]], ModelEntry]":
    """Return where to look for a base: the folder given, else the project's own copy if it is the one, else the hub."""
    from compass_ops.model_files import entry_from
    from compass_ops.serving.base_folder import base_entry
    from compass_ops.storage import read_json

    pins = root / "build" / "base" / "base.json"

    def find(pinned: Mapping[str, str | None]) -> "ModelEntry":
        if folder is None and pins.is_file():
            own = entry_from(read_json(pins)["model"])
            if own.digest == pinned["digest"]:
                return own
        return base_entry(pinned, folder)

    return find


def _items(folder: Path) -> "Callable[[str], pa.Table]":
    from compass_ops.storage import read_table

    def read(language: str) -> "pa.Table":
        file = folder / f"{language}.parquet"
        if not file.is_file():
            raise ModelError(
                f"{file}: does not exist. Give --items a folder of <language>.parquet, or leave out --check."
            )
        return read_table(file)

    return read


COMMANDS = (export,)

"""Export for serving engines: one directory per language and alias, all checked before any of them is published."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from safetensors.torch import save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from compass_ops.errors import CompassError, ModelError, RegistryError
from compass_ops.model_files import ModelEntry
from compass_ops.registry.history import LanguageState
from compass_ops.registry.mirror import LanguageView
from compass_ops.registry.names import known_language, model_name
from compass_ops.registry.stages import ALIASES, PRODUCTION
from compass_ops.registry.store import RegistryStore
from compass_ops.registry.versions import link_tree
from compass_ops.serving.engine_form import check_rank, check_targets, engine_form, lora_of_dora
from compass_ops.serving.fidelity import TextForm, check_items, divergence
from compass_ops.storage import file_digests, fresh_folder, read_json, read_table, write_json
from compass_ops.training.adapter_file import CONFIG, WEIGHTS, LoraLayer, read_layers
from compass_ops.training.base import load_base
from compass_ops.training.version import MANIFEST, text_separator

RECORD = "export.json"
ANCHORS = "anchors.parquet"
Record = dict[str, Any]


@dataclass(frozen=True)
class ExportSettings:
    """What is exported, and what it is held to.

    Attributes
    ----------
    alias : str
        ``champion`` or ``candidate``.
    max_rank : int
        Highest rank that the engine takes; DoRA is converted to LoRA of this rank.
    served_base : str or None
        Name of the base in the engine; the base's id if None.
    max_divergence : float
        Most nats per token by which a converted adapter may diverge from the registered one.
    max_drop : float
        Most accuracy that an exported adapter may lose on the items.
    """

    alias: str
    max_rank: int
    served_base: str | None
    max_divergence: float
    max_drop: float


class Exporter:
    """Exports languages of one registry; a base that several of them share is loaded once.

    Parameters
    ----------
    store : RegistryStore
    settings : ExportSettings
    find_base : callable
        From ``{"id", "revision", "digest"}`` of a manifest to where that base is.
    items : callable or None
        From a language to its items (``prompt``, ``choices``, ``answer``), to check exported adapters on.
    """

    def __init__(
        self,
        store: RegistryStore,
        settings: ExportSettings,
        find_base: Callable[[Mapping[str, str | None]], ModelEntry],
        items: Callable[[str], pa.Table] | None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._find_base = find_base
        self._items = items
        self._loaded: tuple[str, tuple[PreTrainedModel, PreTrainedTokenizerBase]] | None = None

    def export(self, languages: Sequence[str] | None, out: Path) -> list[Record]:
        """Write ``<out>/compass-<language>@<alias>/`` for every language; return what was written.

        All or nothing: ``out`` is replaced as a whole, once every language has passed. Directories of other languages
        and aliases stay.

        Parameters
        ----------
        languages : sequence of str or None
            None: all that have a version at the alias; ``out`` then holds nothing else afterwards.

        Raises
        ------
        CompassError
            With one line per language that cannot be exported; or if ``out`` holds what no export wrote.
        """
        _check_ours(out)
        views = self._store.read()
        chosen = list(dict.fromkeys(languages)) if languages is not None else self._all(views)
        names = {f"{model_name(language)}@{self._settings.alias}": language for language in chosen}
        records, faults = [], []
        with fresh_folder(out) as aside:
            for kept in sorted(out.glob("*")) if languages is not None else ():
                if kept.name not in names:
                    link_tree(kept, aside / kept.name)
            for name, language in names.items():
                try:
                    records.append(self._language(language, views, aside / name))
                except CompassError as error:
                    faults.append(str(error) if str(error).startswith(f"{language}: ") else f"{language}: {error}")
            if faults:
                raise CompassError("\n".join([*faults, "Nothing was exported."]))
        return records

    def _all(self, views: Mapping[str, LanguageView]) -> list[str]:
        found = [language for language, view in views.items() if self._version_at_alias(view.state) is not None]
        if not found:
            raise RegistryError(f"No language has a {self._settings.alias}, so there is nothing to export.")
        return found

    def _version_at_alias(self, state: LanguageState) -> str | None:
        return state.production if ALIASES[self._settings.alias] == PRODUCTION else state.staging

    def _language(self, language: str, views: Mapping[str, LanguageView], folder: Path) -> Record:
        view = views[known_language(language, views)]
        number = self._version_at_alias(view.state)
        if number is None:
            raise RegistryError(f"{language}: has no {self._settings.alias}. `compass status` shows what there is.")
        if number not in view.versions:
            raise RegistryError(
                f"{language}: version {number}, its {self._settings.alias}, was deleted from the registry. `compass "
                "doctor` says what can be done."
            )
        with tempfile.TemporaryDirectory(prefix="compass.") as aside:
            version = Path(aside) / "version"
            self._store.fetch(view.versions[number], version)
            manifest = read_json(version / MANIFEST)
            measured = self._write(version, manifest, folder)
            measured |= self._check(language, version, manifest, folder)
        record = {
            "language": language,
            "alias": self._settings.alias,
            "version": number,
            "adapter": manifest["digest"],
            "base": manifest["base"],
            **measured,
            "files": file_digests(folder),
        }
        write_json(folder / RECORD, record)
        return record

    def _write(self, version: Path, manifest: Record, folder: Path) -> Record:
        """Write the adapter in the engine's form; convert DoRA, and refuse if too much is lost."""
        registered = read_layers(version / "adapter")
        check_targets(registered)
        converts = any(layer.magnitude is not None for layer in registered.values())
        layers = self._converted(registered, manifest) if converts else registered
        check_rank(layers, self._settings.max_rank)
        served_base = self._settings.served_base or manifest["base"]["id"]
        form = engine_form(layers, served_base, read_json(version / "adapter" / CONFIG))
        folder.mkdir()
        save_file(dict(form.tensors), folder / WEIGHTS, metadata={"format": "pt"})
        write_json(folder / CONFIG, form.config)
        if not converts:
            return {"rank": form.rank, "converted": False, "divergence_nats": None}
        rows = read_table(version / ANCHORS)
        texts = list(zip(rows["prompt"].to_pylist(), rows["completion"].to_pylist(), strict=True))
        base = self._base(manifest["base"])
        lost = divergence(base, registered, read_layers(folder), texts, _text_form(version, manifest))
        if not lost <= self._settings.max_divergence:  # NaN is refused too
            raise ModelError(
                f"as LoRA of rank {form.rank} it diverges by {lost:.4g} nats per token from the registered DoRA "
                f"adapter; at most {self._settings.max_divergence:g} are allowed. Raise --max-rank, or train without "
                "train.lora.use_dora."
            )
        return {"rank": form.rank, "converted": True, "divergence_nats": lost}

    def _converted(self, layers: Mapping[str, LoraLayer], manifest: Record) -> dict[str, LoraLayer]:
        model, _ = self._base(manifest["base"])
        return {
            name: lora_of_dora(model.get_submodule(name).weight, layer, self._settings.max_rank)
            for name, layer in layers.items()
        }

    def _check(self, language: str, version: Path, manifest: Record, folder: Path) -> Record:
        if self._items is None:
            return {"check": None}
        adapters = version / "adapter", folder
        found = check_items(
            self._base(manifest["base"]), adapters, self._items(language), _text_form(version, manifest)
        )
        if found.drop > self._settings.max_drop:
            raise ModelError(
                f"on {found.labelled} items the exported adapter is right in {found.exported_accuracy:.3f}, the "
                f"registered one in {found.registered_accuracy:.3f}; at most {self._settings.max_drop:g} may be lost. "
                "Raise --max-rank, or train without train.lora.use_dora."
            )
        return {"check": found.as_json()}

    def _base(self, pinned: Mapping[str, str | None]) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        digest = str(pinned["digest"])
        if self._loaded is None or self._loaded[0] != digest:
            self._loaded = None  # two bases are never in memory together
            self._loaded = digest, load_base(self._find_base(pinned), self._store.location.root)
        return self._loaded[1]


def _text_form(version: Path, manifest: Record) -> TextForm:
    return TextForm(text_separator(version, manifest), int(manifest["text"]["max_tokens"]))


def _check_ours(out: Path) -> None:
    """Refuse to replace a folder that holds anything but exports."""
    strangers = sorted(path.name for path in out.glob("*") if not (path / RECORD).is_file()) if out.is_dir() else []
    if strangers or (out.exists() and not out.is_dir()):
        named = strangers[0] if strangers else "a file"
        raise ModelError(f"{out}: holds {named}, which `compass export` did not write. Give a folder of its own.")

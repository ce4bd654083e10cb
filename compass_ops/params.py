"""``params.yaml``, validated as a whole before any work, every fault in one report. The only door to YAML.

Values stand in the file alone: no field has a default, so a missing key is an error.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from compass_ops.errors import ParamsError
from compass_ops.sections import (
    BaseParams,
    ClusterParams,
    DriftParams,
    EmbedParams,
    EvaluateParams,
    GateParams,
    ProjectParams,
    RegistryParams,
    ReportParams,
    SampleParams,
    Section,
    TrafficParams,
    TrainParams,
    UpdateParams,
)
from compass_ops.source_sections import IngestParams

PARAMS_FILE = Path("params.yaml")


class Params(Section):
    """The whole file."""

    project: ProjectParams
    ingest: IngestParams
    base: BaseParams
    embed: EmbedParams
    cluster: ClusterParams
    sample: SampleParams
    train: TrainParams
    evaluate: EvaluateParams
    gate: GateParams
    registry: RegistryParams
    traffic: TrafficParams
    drift: DriftParams
    update: UpdateParams
    report: ReportParams


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Read and validate a params file.

    Raises
    ------
    ParamsError
        If it cannot be read, or with one line per fault.
    """
    try:
        value = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ParamsError(f"{path}: does not exist. Run in the project's folder, or name a params file.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ParamsError(f"{path}: is not readable YAML ({error}).") from error
    if not isinstance(value, dict):
        raise ParamsError(f"{path}: must hold one section per stage; got {type(value).__name__}.")
    try:
        params = Params.model_validate(value)
    except ValidationError as error:
        faults = [_sentence(path, fault) for fault in error.errors()]
        raise ParamsError("\n".join(faults)) from error
    return params


def _sentence(path: Path, fault: Mapping[str, Any]) -> str:
    """Say one fault: where, what was expected, what came, what to do."""
    where = ".".join(str(part) for part in fault["loc"])
    key = str(fault["loc"][-1])
    if fault["type"] == "extra_forbidden":
        siblings = _fields_at(fault["loc"][:-1])
        close = difflib.get_close_matches(key, siblings, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"Known keys: {', '.join(sorted(siblings))}."
        return f"{path}: {where} is not a known key. {hint}"
    advice = _advice(fault["loc"])
    if fault["type"] == "missing":
        return f"{path}: {where} is missing. {advice}".rstrip()
    expected = fault["msg"][0].lower() + fault["msg"][1:]
    return f"{path}: {where}: {expected}; got {fault['input']!r}. {advice}".rstrip()


def _models_in(annotation: Any) -> list[type[Section]]:
    """Return the section classes that an annotation mentions, however nested."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _field_at(location: tuple[Any, ...]) -> tuple[FieldInfo | None, list[type[Section]]]:
    """Follow a fault's location: the last field met, and the section classes below it."""
    field: FieldInfo | None = None
    models: list[type[Section]] = [Params]
    for part in location:
        found = [model.model_fields[part] for model in models if part in model.model_fields]
        if found:
            field, models = found[0], _models_in(found[0].annotation)
    return field, list(models)


def _advice(location: tuple[Any, ...]) -> str:
    field, _ = _field_at(location)
    return (field.description or "") if field else ""


def _fields_at(location: tuple[Any, ...]) -> list[str]:
    _, models = _field_at(location)
    kinds = [model for model in models if model.model_fields.get("kind")]
    named = [model for model in kinds if get_args(model.model_fields["kind"].annotation)[0] in location]
    return sorted({name for model in named or models for name in model.model_fields})

"""``params.yaml``, validated as a whole before any work, every fault in one report. The only door to YAML.

Values stand in the file alone: no field has a default, so a missing key is an error.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

import yaml
from pydantic import Field, ValidationError
from pydantic.fields import FieldInfo

from compass_ops.errors import ParamsError
from compass_ops.registry_sections import RegistryParams
from compass_ops.sections import (
    BaseParams,
    EvaluateParams,
    GateParams,
    ProjectParams,
    Section,
    TrainParams,
)
from compass_ops.selection_sections import ClusterParams, EmbedParams, SampleParams
from compass_ops.source_sections import IngestParams, rule_form
from compass_ops.tend_sections import DriftParams, ReportParams, TrafficParams, UpdateParams
from compass_ops.terminal import masked

PARAMS_FILE = Path("params.yaml")
_SHOWN = 80  # characters of a wrong value


class Params(Section):
    """The whole file."""

    project: ProjectParams
    ingest: IngestParams
    base: BaseParams
    embed: EmbedParams
    cluster: ClusterParams = Field(description="Choose kind: kmeans or hdbscan.")
    sample: SampleParams
    train: TrainParams
    evaluate: EvaluateParams
    gate: GateParams
    registry: RegistryParams
    traffic: TrafficParams
    drift: DriftParams
    update: UpdateParams
    report: ReportParams


def read_yaml(path: Path) -> Any:
    """Read a YAML file; ``YAMLError`` also where a key stands twice in one place, of which the last would count."""
    text = path.read_text("utf-8")
    for mapping in _mappings(yaml.compose(text, yaml.SafeLoader), set()):
        seen = set()
        for key, _ in mapping.value:
            if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value} stands there twice", problem_mark=key.start_mark)
            seen.add((key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key))
    return yaml.safe_load(text)


def _mappings(node: yaml.Node | None, seen: set[int]) -> Iterator[yaml.MappingNode]:
    """Yield the mappings in a document, each once: aliases stand for the node of their anchor."""
    if node is None or isinstance(node, yaml.ScalarNode) or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        yield node
    for part in node.value:
        for inner in part if isinstance(part, tuple) else (part,):
            yield from _mappings(inner, seen)


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Read and validate a params file.

    Raises
    ------
    ParamsError
        If it cannot be read, or with one line per fault.
    """
    try:
        value = read_yaml(path)
    except FileNotFoundError as error:
        raise ParamsError(f"{path}: does not exist. Run in the project's folder, or name a params file.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ParamsError(f"{path}: is not readable YAML ({error}). Correct it there.") from error
    if not isinstance(value, dict):
        raise ParamsError(f"{path}: must hold one section per stage; got {type(value).__name__}. Write `project:`, ...")
    between = [f"{path}: {sentence}" for sentence in _disagreements(value)]
    try:
        params = Params.model_validate(value)
    except ValidationError as error:
        within = [f"{path}: {_sentence(fault, value)}" for fault in error.errors()]
        raise ParamsError("\n".join(within + between)) from error
    if between:
        raise ParamsError("\n".join(between))
    return params


def _disagreements(value: Mapping[str, Any]) -> Iterator[str]:
    """Say where sections contradict one another, as far as they can be read."""
    languages = _at(value, "project", "languages")
    sources = _at(value, "ingest", "sources")
    known = [tag for tag in languages if isinstance(tag, str)] if isinstance(languages, list) else []
    for place, named in _named_languages(value, sources) if known else ():
        for language in named:
            if language not in known:
                hint = _close(language, known) or "Add it there or take it out here."
                yield f"{place}.{language} must be one of project.languages; got {language!r}. {hint}"
    kinds = [_at(source, "kind") for source in sources] if isinstance(sources, list) else None
    if _at(value, "traffic", "origin", "kind") == "simulated" and kinds is not None and "worldfacts" not in kinds:
        yield (
            "traffic.origin.kind must be none or log unless a source has kind worldfacts; got 'simulated'. Choose "
            "one of the two: only worldfacts can be asked for more."
        )


def _named_languages(value: Mapping[str, Any], sources: Any) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Yield every mapping from languages: where it stands, and itself."""
    found = {
        "sample.overrides": _at(value, "sample", "overrides"),
        "traffic.origin.shifts": _at(value, "traffic", "origin", "shifts"),
    }
    for place, source in enumerate(sources if isinstance(sources, list) else ()):
        found |= {f"ingest.sources.{place}.{name}": _at(source, name) for name in ("own_topics", "usage")}
    yield from ((place, named) for place, named in found.items() if isinstance(named, dict))


def _at(value: Any, *keys: str) -> Any:
    """Return what stands below the keys, or None."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


class _Place(NamedTuple):
    """Where a fault is.

    ``key`` is dotted, as in the file; ``field`` is the last field on the way; ``models`` are the section classes that
    the value there may have.
    """

    key: str
    field: FieldInfo | None
    models: list[type[Section]]


def _place(location: tuple[int | str, ...], value: Any) -> _Place:
    """Follow a fault's location; the names of variants, which pydantic puts between the keys, are left out."""
    keys: list[str] = []
    field: FieldInfo | None = None
    models: list[type[Section]] = [Params]
    for part in location:
        variant = _variant(models, part, value)
        if variant is not None:
            models = variant
            continue
        found = [model.model_fields[str(part)] for model in models if part in model.model_fields]
        if found:
            field, models = found[0], _models_in(found[0].annotation)
        if part != "[key]":
            keys.append(str(part))
            value = value[part] if isinstance(value, list) and isinstance(part, int) else _at(value, str(part))
    return _Place(".".join(keys), field, models)


def _variant(models: list[type[Section]], part: int | str, value: Any) -> list[type[Section]] | None:
    """Return the classes that a part of a location chooses among ``models``, or None if it is a key of the file."""
    if len(models) < 2:
        return None
    kinds = {get_args(m.model_fields["kind"].annotation)[0]: m for m in models if "kind" in m.model_fields}
    if kinds:
        return [kinds[part]] if part in kinds else None
    return [m for m in models if part in m.model_fields] if part == rule_form(value) else None


def _models_in(annotation: Any) -> list[type[Section]]:
    """Return the section classes that an annotation mentions, however nested."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _sentence(fault: Mapping[str, Any], value: Any) -> str:
    """Say one fault: where, what was expected, what came, what to do."""
    kind, came = fault["type"], fault["input"]
    if kind == "extra_forbidden":
        known = sorted({name for model in _place(fault["loc"][:-1], value).models for name in model.model_fields})
        hint = _close(fault["loc"][-1], known) or f"Known keys: {', '.join(known)}."
        return f"{_place(fault['loc'], value).key} is not a known key. {hint}"
    key, field, _ = _place(fault["loc"], value)
    advice = (field.description if field else None) or "Write it as in the project's own params.yaml."
    if kind == "missing":
        return f"{key} is missing. {advice}"
    if kind == "union_tag_not_found":
        return f"{key}.kind is missing. {advice}"
    if kind == "union_tag_invalid":
        key, came = f"{key}.kind", fault["ctx"]["tag"]
        expected = f"must be one of {fault['ctx']['expected_tags']}"
    elif kind in ("model_type", "dict_type"):
        expected = "must hold keys"
    else:
        expected = re.sub(r"^(Value error, |\w+ should )", "", fault["msg"]).removeprefix("must ")
        expected = f"must {expected}"
    between = kind == "value_error" and isinstance(came, dict)  # two keys disagree; the sentence has what came
    advice = "Change one of them." if between else advice
    shown = "" if between else f"; got {_shown(came)}"
    meant = _close(came, re.findall("'([^']+)'", expected)) or _number_hint(kind, came)
    return " ".join(filter(None, (f"{key} {expected}{shown}.", meant, advice)))


def _shown(value: Any) -> str:
    text = masked(repr(value))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _close(name: Any, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1) if isinstance(name, str) else []
    return f"Did you mean {close[0]!r}?" if close else ""


def _number_hint(kind: str, came: Any) -> str:
    """Name what is behind a number that came as text: quotes, or a power without a point (YAML 1.1)."""
    if kind not in ("int_type", "float_type") or not isinstance(came, str):
        return ""
    try:
        return f"Write {float(came):.12g} without quotes, and powers such as 1e-4 as 1.0e-4."
    except ValueError:
        return ""

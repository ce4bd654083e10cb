"""The section ``ingest`` of ``params.yaml``: sources, and the mapping from their fields to a record's columns."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from compass_ops.sections import Count, Section

Column = Literal[
    "id",
    "language",
    "role",
    "prompt",
    "completion",
    "choices",
    "answer",
    "topic",
    "parallel_id",
    "source",
    "weight",
]


class TemplateRule(Section):
    """Text with raw fields filled in."""

    template: str = Field(description="Give the text, with raw fields in braces.")


class PatternRule(Section):
    """What a regular expression finds in a raw field, its groups joined by ``:``."""

    field: str = Field(description="Name the raw field.")
    pattern: str = Field(description="Give a regular expression.")


def _scalar(value: Any) -> Any:
    """Refuse what is neither text nor a number, such as YAML's reading of an unquoted no."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be text or a number: quote words like no, off and null")
    return value


def _constant(value: Any) -> Any:
    """Take a list too, such as the letters that stand for the choices of every item."""
    return [_scalar(part) for part in value] if isinstance(value, list) else _scalar(value)


Scalar = Annotated[Any, AfterValidator(_scalar)]
Constant = Annotated[Any, AfterValidator(_constant)]


class ValuesRule(Section):
    """The value that a raw one stands for."""

    field: str = Field(description="Name the raw field.")
    values: dict[str, Scalar] = Field(description="Map raw values, as text, to the column's.")


def rule_form(value: Any) -> str | None:
    """Tell the forms of a rule apart, so that a fault is reported once and not for every form."""
    if isinstance(value, str | list):
        return "name" if isinstance(value, str) else "names"
    keys = value if isinstance(value, Mapping) else type(value).model_fields if isinstance(value, Section) else ()
    return next((form for form in ("template", "pattern", "values") if form in keys), None)


Rule = Annotated[
    Annotated[str, Tag("name")]
    | Annotated[list[str], Tag("names")]
    | Annotated[TemplateRule, Tag("template")]
    | Annotated[PatternRule, Tag("pattern")]
    | Annotated[ValuesRule, Tag("values")],
    Discriminator(
        rule_form,
        custom_error_type="rule_form",
        custom_error_message="must be a field's name, a list of names, {template}, {field, pattern} or {field, values}",
    ),
]


class MappingParams(Section):
    """From a source's fields to a record's columns; see ``corpus.fields``."""

    fields: dict[Column, Rule] = Field(
        description="Map columns to raw fields: a name, names, {template}, {field, pattern} or {field, values}."
    )
    constants: dict[Column, Constant] = Field(description="Map columns to fixed values, or give {}.")
    where: dict[str, list[str]] = Field(description="Map raw fields to the values to keep, or give {}.")


class FilesParams(Section):
    """Local files (.jsonl, .ndjson, .json, .csv, .tsv, also .gz, and .parquet)."""

    kind: Literal["files"]
    name: str = Field(min_length=1, description="Name the source; messages use it.")
    files: list[str] = Field(min_length=1, description="List paths or globs, relative to the project.")
    mapping: MappingParams = Field(description="Give fields, constants and where.")


class HubParams(Section):
    """A Hugging Face data set, or a local folder in the hub's layout."""

    kind: Literal["hub"]
    name: str = Field(min_length=1, description="Name the source; messages use it.")
    id: str = Field(description="Give the repository's id, such as CohereLabs/aya_dataset, or a folder.")
    revision: str | None = Field(
        pattern=r"^[0-9a-f]{40}$", description="Pin the commit: 40 hex digits, not a branch; null for a folder."
    )
    configs: list[str] = Field(description="List the configurations, or give [] for the default one.")
    splits: list[str] = Field(min_length=1, description="List the splits, such as [train].")
    mapping: MappingParams = Field(description="Give fields, constants and where.")


class WorldfactsParams(Section):
    """The embedded project; see ``corpus.worldfacts``."""

    kind: Literal["worldfacts"]
    name: str = Field(min_length=1, description="Name the source; messages use it.")
    test_rows: Count = Field(description="Set the test questions per target language.")
    asked_facts: Count = Field(description="Set the facts that a target language's users ask.")
    target_rows: Count = Field(description="Set the target prompts per target language.")
    own_rows: Count = Field(description="Set the most own rows per target language.")
    pool_rows_per_language: Count = Field(description="Set the most auxiliary rows per language.")
    pretrain_rows_per_language: Count = Field(description="Set the most pretraining rows per language.")
    own_topics: dict[str, list[str]] = Field(description="Map target languages to the topics of their own data.")
    usage: dict[str, dict[str, float]] = Field(description="Map target languages to {topic: weight} of their use.")
    pretrain_topics: dict[Literal["high", "low"], list[str]] = Field(
        description="List the topics that the base sees in large (high) and in small (low) languages."
    )

    def settings(self, targets: Sequence[str]) -> dict[str, Any]:
        """Return the arguments of ``WorldfactsSettings``."""
        values = self.model_dump(exclude={"kind", "name"})
        values["own_topics"] = {language: tuple(topics) for language, topics in self.own_topics.items()}
        values["pretrain_topics"] = {tier: tuple(topics) for tier, topics in self.pretrain_topics.items()}
        return values | {"targets": tuple(targets)}


class IngestParams(Section):
    """Sources and how they are cleaned."""

    sources: list[Annotated[FilesParams | HubParams | WorldfactsParams, Field(discriminator="kind")]] = Field(
        min_length=1, description="List the sources; kind is files, hub or worldfacts."
    )
    dev_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="Set the share of the test rows for choices (dev); the rest decides (gate)."
    )
    near_duplicates: Annotated[float, Field(gt=0, le=1)] | None = Field(
        description="Set the similarity from which training rows like a held one go, such as 0.8, or null."
    )
    keep_translations: bool = Field(
        description="Say true only if the data set is made of translations of its test items."
    )

    @model_validator(mode="after")
    def _distinct_names(self) -> Self:
        names = [source.name for source in self.sources]
        if len(set(names)) < len(names):
            raise ValueError(f"must give each source a name of its own; got {', '.join(names)}")
        return self

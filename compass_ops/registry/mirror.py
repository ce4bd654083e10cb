"""What MLflow shows of a language, and the writes that make it agree with the history. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from compass_ops.errors import RegistryError
from compass_ops.registry.history import Entry, LanguageState, fold
from compass_ops.registry.stages import ALIASES, ARCHIVED, PRODUCTION, STAGING


@dataclass(frozen=True)
class Version:
    """A model version as MLflow has it.

    Attributes
    ----------
    stage : str
        As MLflow shows it.
    source : str
        URI of its files.
    tags : mapping of str to str
        Its ``compass.*`` tags, without the prefix.
    created : int
        When it was registered, in milliseconds since 1970 (UTC).
    """

    number: str
    stage: str
    source: str
    run_id: str
    tags: Mapping[str, str]
    created: int = 0


@dataclass(frozen=True)
class RegistryRows:
    """What a registry holds, as it was read.

    Attributes
    ----------
    entries : sequence of (number, Entry)
        Of the history, void ones too.
    versions : mapping of language to versions
    aliases : mapping of language to {alias: version}
    """

    entries: Sequence[tuple[int, Entry]]
    versions: Mapping[str, Sequence[Version]]
    aliases: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class LanguageView:
    """One language: what the history says, and what MLflow shows. Deleted versions are not shown."""

    state: LanguageState
    versions: Mapping[str, Version] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)

    def champion(self) -> Version | None:
        """Return the version in Production, or None; ``RegistryError`` if it was deleted from the registry."""
        number, language = self.state.production, self.state.language
        if number is not None and number not in self.versions:
            raise RegistryError(
                f"{language}: version {number} is in Production but was deleted from the registry. Bring it back with "
                f"`compass restore {language} --why ...`, a former champion with `compass rollback {language} --why "
                f"...`, or let the base serve alone: `compass archive {language}/{number} --why ...`."
            )
        return None if number is None else self.versions[number]

    def version_of(self, digest: str, record: str) -> str | None:
        """Return the version that was registered for a digest under a decision record, or None."""
        wanted = (digest, record)
        found = (v.number for v in self.versions.values() if (v.tags.get("digest"), v.tags.get("record")) == wanted)
        return min(found, key=int, default=None)


def views_of(rows: RegistryRows) -> dict[str, LanguageView]:
    """Return the view of every language that has an entry or a version; ``RegistryError`` if a history is broken."""
    states = fold(rows.entries)
    return {
        language: LanguageView(
            states.get(language, LanguageState(language)),
            {version.number: version for version in rows.versions.get(language, ())},
            rows.aliases.get(language, {}),
        )
        for language in sorted({*states, *rows.versions})
    }


@dataclass(frozen=True)
class Correction:
    """One write: a version to a stage, or an alias to a version (None takes the alias away)."""

    version: str | None
    stage: str | None = None
    alias: str | None = None


def corrections(view: LanguageView) -> list[Correction]:
    """Return the writes that make stages and aliases agree with the history, in the order to write them.

    Production first: MLflow archives its predecessor in the same transaction, so that no reader of stages ever
    sees two. Then the aliases, then the stages of other versions. A version that the history does not know is left
    alone, unless it stands in Production beside the champion. A deleted version is passed over.
    """
    state, shown = view.state, {number: version.stage for number, version in view.versions.items()}
    writes: list[Correction] = []
    for stage, number in ((PRODUCTION, state.production), (STAGING, state.staging)):
        rivals = [other for other, at in shown.items() if at == stage and other != number]
        if number in shown and (shown[number] != stage or rivals):
            writes.append(Correction(number, stage=stage))
            shown |= {number: stage, **dict.fromkeys(rivals, ARCHIVED)}
    for alias, stage in ALIASES.items():
        number = state.production if stage == PRODUCTION else state.staging
        present = view.aliases.get(alias)
        if present != number and (number is None or number in shown):
            writes.append(Correction(number, alias=alias))
    stale = ((number, stage) for number, stage in state.stages.items() if shown.get(number, stage) != stage)
    writes.extend(Correction(number, stage=stage) for number, stage in sorted(stale, key=lambda item: int(item[0])))
    return writes


def outside(view: LanguageView) -> list[Correction]:
    """Return the writes that archive what somebody put into Production or Staging past the history."""
    stages = view.state.stages
    return [
        Correction(version.number, stage=ARCHIVED)
        for version in view.versions.values()
        if version.stage in (PRODUCTION, STAGING) and version.number not in stages
    ]


def told(view: LanguageView, write: Correction) -> str:
    """Say in one sentence what a correction puts right."""
    language = view.state.language
    if write.alias is not None:
        present = view.aliases.get(write.alias, "nothing")
        return f"{language}: alias {write.alias} was at {present}, the history says {write.version or 'nothing'}"
    shown = view.versions[str(write.version)].stage
    known = view.state.stages.get(str(write.version))
    says = f"the history says {known}" if known else "the history does not know it"
    return f"{language}: version {write.version} was shown as {shown}, {says}"

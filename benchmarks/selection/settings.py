"""``comparison.yaml`` of a data set: what is compared, on how many seeds, with which clusterings."""

from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from benchmarks.reporting import load_settings
from compass_ops.sections import Count, Section, Share
from compass_ops.selection_sections import ClusterParams, CompassPlusParams, SampleParams, StrategyName

FILE = Path("comparison.yaml")
WITHOUT_BUDGET = "all"


class Clustering(Section):
    """Clusters of the pool."""

    method: ClusterParams
    centred: bool


class Variant(Section):
    """A row of the table: a strategy on a clustering, with other parts of ``compass_plus`` where it is that."""

    strategy: StrategyName
    clustering: str
    parts: dict[str, Any]


class Comparison(Section):
    """The whole file.

    ``held_out`` is the share of the target prompts that no strategy sees: the distance of a choice is measured to
    them. ``all_epochs`` are the passes of the strategy ``all``, which is exempt from the budget.
    """

    seeds: Count
    budget: Count
    languages: Count
    held_out: Share
    all_epochs: Count
    transfer_rows: Count
    clusterings: dict[str, Clustering]
    compass_plus: CompassPlusParams
    variants: dict[str, Variant] = Field(min_length=1)

    @model_validator(mode="after")
    def _known(self) -> Self:
        for name, variant in self.variants.items():
            if variant.clustering not in self.clusterings:
                raise ValueError(f"variant {name} names clustering {variant.clustering!r}, which is not there")
            if unknown := set(variant.parts) - set(CompassPlusParams.model_fields):
                raise ValueError(f"variant {name}: {sorted(unknown)} are no parts of compass_plus")
        return self

    def sample(self, name: str, matrix: Path) -> SampleParams:
        """Return a variant as the settings of the stage sample."""
        variant = self.variants[name]
        parts = CompassPlusParams(**(self.compass_plus.model_dump() | variant.parts))
        return SampleParams(
            strategy=variant.strategy,
            budget=self.budget,
            unit="rows",
            overrides={},
            languages=self.languages,
            transfer_matrix=str(matrix),
            compass_plus=parts,
        )


def load_comparison(path: Path = FILE) -> Comparison:
    """Read and validate the file; ``ParamsError`` with one line per fault."""
    return load_settings(path, Comparison)


def cells(comparison: Comparison, languages: list[str]) -> list[str]:
    """Return ``variant/language/seed`` for everything that is trained: seed by seed, the longest first."""
    names = sorted(comparison.variants, key=lambda name: comparison.variants[name].strategy != WITHOUT_BUDGET)
    return [f"{name}/{language}/{seed}" for seed in range(comparison.seeds) for name in names for language in languages]

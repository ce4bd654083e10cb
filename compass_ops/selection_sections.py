"""The sections of ``params.yaml`` for the stages embed, cluster and sample."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from compass_ops.sections import Count, Section


class EmbedParams(Section):
    """Texts to vectors."""

    prefix: str = Field(description='Give the text before each prompt ("query: " for E5 models), or "".')
    batch_rows: Count = Field(description="Set the texts per batch.")
    centred: bool = Field(
        description="Say true to take each language's own direction, its mean in the pool, out of its vectors."
    )


class KMeansParams(Section):
    """Round clusters of the pool, as many as are asked for."""

    kind: Literal["kmeans"]
    clusters: Count | Annotated[list[Count], Field(min_length=1)] = Field(
        description="Set K, such as 30 (20 to 40 suit a few hundred target prompts), or list some to choose from."
    )
    fit_rows: Count = Field(description="Set the rows that K-Means is fitted on; the rest is assigned.")

    @model_validator(mode="after")
    def _check_rows(self) -> Self:
        most = self.clusters if isinstance(self.clusters, int) else max(self.clusters)
        _check_enough("clusters", most, self.fit_rows)
        return self


class HdbscanParams(Section):
    """Dense clusters of the pool, as many as there are."""

    kind: Literal["hdbscan"]
    smallest: Annotated[int, Field(ge=2)] = Field(
        description="Set the rows of the sample that make a cluster, such as 30."
    )
    fit_rows: Count = Field(
        description="Set the rows that HDBSCAN is fitted on, such as 5000: its time is quadratic; the rest is assigned."
    )

    @model_validator(mode="after")
    def _check_rows(self) -> Self:
        _check_enough("smallest", self.smallest, self.fit_rows)
        return self


def _check_enough(name: str, needed: int, fit_rows: int) -> None:
    if fit_rows < needed:
        raise ValueError(f"fit_rows is {fit_rows}, but {name} is {needed}: so many rows are needed. Raise fit_rows.")


ClusterParams = Annotated[KMeansParams | HdbscanParams, Field(discriminator="kind")]


class SampleOverride(Section):
    """What one language has otherwise."""

    budget: Count = Field(description="Set the auxiliary data for this language, in sample.unit.")


StrategyName = Literal[
    "own_only",
    "random",
    "all",
    "langsim",
    "langrank",
    "compass",
    "nearest",
    "dsir",
    "craft",
    "compass_plus",
]


# The budget binds all others; `own_only` draws nothing, `all` everything.
UNBOUND: tuple[StrategyName, ...] = ("own_only", "all")


class CompassPlusParams(Section):
    """The parts of `compass_plus`, each on its own."""

    shrinkage: bool = Field(description="Say whether the target's histogram is shrunken towards the pool's.")
    quotas: Literal["gap", "water_filling", "proportional"] = Field(
        description="Choose gap (by what is missing), water_filling (fills it up), or proportional (by what is asked)."
    )
    affinity: Annotated[float, Field(ge=0, le=700)] = Field(
        description="Set how much near languages are preferred, weight exp(-affinity x distance); 0 for not at all."
    )
    distance: Literal["uriel", "ngrams"] = Field(
        description="Choose uriel (URIEL+, needs `pip install 'compass_ops[baselines]'`) or ngrams (the texts' own)."
    )
    language_cap: Annotated[float, Field(gt=0, le=1)] = Field(
        description="Set the most of the budget that one language may take, such as 0.4; 1 for no cap."
    )
    rows: Literal["random", "round_robin", "herding"] = Field(
        description="Choose random, round_robin (nearest to each prompt in turn) or herding (together as prompts are)."
    )
    duplicates: Annotated[float, Field(gt=0, le=1)] | None = Field(
        description="Set the cosine above which a row repeats another chosen one, such as 0.95, or null."
    )


class SampleParams(Section):
    """Choice of auxiliary data."""

    strategy: StrategyName = Field(description='Choose a strategy; README "Choosing data" says what each does.')
    budget: Count = Field(description="Set the auxiliary rows to draw per language, or tokens by sample.unit.")
    unit: Literal["rows", "tokens"] = Field(description="Choose what the budget counts: rows or tokens.")
    overrides: dict[str, SampleOverride] = Field(description="Map languages to other budgets, or give {}.")
    languages: Count = Field(description="Set how many nearest languages langsim and langrank draw from, such as 3.")
    transfer_matrix: str | None = Field(
        description="Name the transfer matrix that langrank is trained on, see benchmarks/selection, or give null."
    )
    compass_plus: CompassPlusParams = Field(description="Give the parts of compass_plus.")

    @model_validator(mode="after")
    def _has_matrix(self) -> Self:
        if self.strategy == "langrank" and self.transfer_matrix is None:
            raise ValueError("must have a transfer_matrix where strategy is langrank; got null")
        return self

    def budget_of(self, language: str) -> int:
        """Return a language's budget."""
        return self.overrides[language].budget if language in self.overrides else self.budget

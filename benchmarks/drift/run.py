"""Calibration of the drift test on real prompts: false alarms without drift, and power against shifts of known size.

    OMP_NUM_THREADS=1 python -m benchmarks.drift.run --data ../shared/data --processes 2

goes on where it was stopped, begins anew if code or data changed, and leaves ``benchmarks/drift/results.json`` when all
parts are done; ``python -m benchmarks.drift.table`` puts the tables into ``benchmarks/drift/README.md``.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from scipy.stats import beta

from benchmarks.drift.draws import Draw, Drawn, Sizes, language_mix, new_topic, no_shift, topic_mix
from benchmarks.drift.rivals import evidently, fixed
from benchmarks.drift.streams import CLUSTERS, DATASETS, LANGUAGES, Stream, World, load
from benchmarks.options import processes_option
from benchmarks.reporting import code_digest
from compass_ops.fanout import fan_out
from compass_ops.monitoring.drift import Compared, DriftSettings, Histograms, LanguageDrift, judge
from compass_ops.monitoring.measures import STATISTICS, Measured, Sample, fit_lens, measure
from compass_ops.monitoring.permutation import step_down_max_t
from compass_ops.seeding import generator
from compass_ops.storage import read_json, tree_digest, value_digest, write_json

ALPHA = 0.05
SETTINGS = DriftSettings(
    correction="max-t",
    permutations=199,
    alpha=ALPHA,
    effect_floor_nats=0.02,
    mmd_floor=0.001,
    novelty_floor=2.0,
    fixed_threshold_nats=0.1,
    persistence=1,
    minimum_window=50,
    minimum_reference=50,
    minimum_sessions=30,
    random_features=256,
    novelty_quantile=0.95,
    moved_clusters=0,
)
SIZES = {"multiq": Sizes(30, 80, 45), "sib200": Sizes(100, 350, 250)}
KINDS: Mapping[str, Draw] = {"topic mix": topic_mix, "new topic": new_topic, "language mix": language_mix}
SHARES = {"topic mix": (0.05, 0.1, 0.2), "new topic": (0.05, 0.1, 0.2, 0.4), "language mix": (0.05, 0.1, 0.2)}
AA_ROUNDS, POWER_ROUNDS, EVIDENTLY_ROUNDS, FLEET_ROUNDS = 1000, 100, 20, 20
RESULTS = Path(__file__).with_name("results.json")


@dataclass(frozen=True)
class Bench:
    """What all parts share."""

    world: World

    def stream(self, dataset: str, language: str) -> tuple[Stream, Stream]:
        """Return a language's rows and those of the language that may stray in, seen through its projection."""
        return self.world.streams[dataset][language], self.world.strays[language]

    def draw(self, dataset: str, languages: list[str], shifted: dict[str, tuple[Draw, float]], rng: Any) -> Any:
        """Draw one round: each language unshifted but for those named."""
        sizes, drawn = SIZES[dataset], {}
        for language in languages:
            kind, share = shifted.get(language, (no_shift, 0.0))
            drawn[language] = kind(*self.stream(dataset, language), sizes, share, rng)
        return drawn

    def measured(self, language: str, drawn: Drawn, permutations: int, rng: np.random.Generator) -> Measured:
        """Fit on the rows put aside, then compare."""
        shape = (SETTINGS.random_features, SETTINGS.novelty_quantile)
        lens = fit_lens(self.world.centroids_of(language, CLUSTERS[0]), drawn.fitting, shape, rng)
        return measure(drawn.reference, drawn.window, lens, permutations, rng)


def compared(measured: Mapping[str, Measured], drawn: Mapping[str, Drawn]) -> dict[str, Compared]:
    """Dress measurements for the judge; the clusters that moved are not looked at here."""
    return {
        name: Compared(
            Histograms(np.array([len(drawn[name].reference.blocks)]), np.array([len(drawn[name].window.blocks)])),
            (len(drawn[name].window.blocks), len(drawn[name].reference.blocks)),
            one,
        )
        for name, one in measured.items()
    }


def interval(hits: int, rounds: int) -> dict[str, Any]:
    """Return a rate with its two-sided 95 % Clopper-Pearson interval."""
    low = float(beta.ppf(0.025, hits, rounds - hits + 1)) if hits else 0.0
    high = float(beta.ppf(0.975, hits + 1, rounds - hits)) if hits < rounds else 1.0
    return {"hits": hits, "rounds": rounds, "rate": hits / rounds, "low": low, "high": high}


def significant(found: LanguageDrift) -> bool:
    """Tell whether the test alarms before floor and persistence."""
    return found.p_value is not None and found.p_value <= ALPHA


def false_alarms(bench: Bench, dataset: str) -> dict[str, Any]:
    """A/A rounds over all languages: any alarm is a false one. Persistence asks for a second, disjoint window."""
    before, trigger, twice = 0, 0, 0
    for number in range(AA_ROUNDS):
        rng = generator(0, "false alarms", dataset, str(number))
        first, second = _two_windows(bench, dataset, rng)
        found = _round(bench, first, rng)
        before += any(significant(one) for one in found.values())
        alarmed = {name for name, one in found.items() if one.verdict == "drift"}
        trigger += bool(alarmed)
        if alarmed:
            later = _round(bench, second, rng)
            twice += any(later[name].verdict == "drift" for name in alarmed)
    return {
        "languages": len(LANGUAGES),
        "permutations": SETTINGS.permutations,
        "rows": vars(SIZES[dataset]),
        "before floor and persistence": interval(before, AA_ROUNDS),
        "with floor": interval(trigger, AA_ROUNDS),
        "with floor and 2 windows": interval(twice, AA_ROUNDS),
    }


def _two_windows(bench: Bench, dataset: str, rng: np.random.Generator) -> tuple[dict[str, Drawn], dict[str, Drawn]]:
    """Draw two disjoint windows against one reference."""
    sizes = SIZES[dataset]
    twice = replace(sizes, window=2 * sizes.window)
    rounds: tuple[dict[str, Drawn], dict[str, Drawn]] = ({}, {})
    for language in LANGUAGES:
        both = no_shift(*bench.stream(dataset, language), twice, 0.0, rng)
        for part, drawn in enumerate(rounds):
            rows = slice(part * sizes.window, (part + 1) * sizes.window)
            drawn[language] = replace(both, window=_rows(both.window, rows))
    return rounds


def _rows(sample: Sample, rows: slice) -> Sample:
    return Sample(sample.vectors[rows], sample.scripts[rows], sample.blocks[rows])


def _round(bench: Bench, drawn: Mapping[str, Drawn], rng: np.random.Generator) -> dict[str, LanguageDrift]:
    measured = {name: bench.measured(name, one, SETTINGS.permutations, rng) for name, one in drawn.items()}
    return judge(compared(measured, drawn), SETTINGS)


def rivals_without_drift(bench: Bench) -> dict[str, Any]:
    """Alarms of the other methods on the same A/A draws, language by language."""
    alarms: Counter[str] = Counter()
    rounds = EVIDENTLY_ROUNDS // 2
    for number in range(rounds):
        rng = generator(0, "false alarms", "sib200", str(number))
        for language, drawn in bench.draw("sib200", LANGUAGES, {}, rng).items():
            alarms.update(name for name, alarm in _rivals(bench, language, drawn) if alarm)
    return {name: interval(alarms[name], rounds * len(LANGUAGES)) for name in _names(bench)}


def _rivals(bench: Bench, language: str, drawn: Drawn) -> list[tuple[str, bool]]:
    found = [pair for number in CLUSTERS for pair in fixed(drawn, bench.world.centroids_of(language, number))]
    return found + list(evidently(drawn))


def _names(bench: Bench) -> list[str]:
    first, rng = LANGUAGES[0], np.random.default_rng(0)
    return [name for name, _ in _rivals(bench, first, bench.draw("sib200", [first], {}, rng)[first])]


def power(bench: Bench, kind: str, share: float) -> dict[str, Any]:
    """One language of twelve is shifted: how often is it found, by each statistic alone and by the others' methods."""
    hits: Counter[str] = Counter()
    for number in range(POWER_ROUNDS):
        rng = generator(0, "power", kind, str(share), str(number))
        shifted = LANGUAGES[number % len(LANGUAGES)]
        drawn = bench.draw("sib200", LANGUAGES, {shifted: (KINDS[kind], share)}, rng)
        measured = {name: bench.measured(name, one, SETTINGS.permutations, rng) for name, one in drawn.items()}
        found = judge(compared(measured, drawn), SETTINGS)
        hits["all four, over 12 languages"] += significant(found[shifted])
        hits["all four, the language by itself"] += bool(step_down_max_t(measured[shifted].scores).min() <= ALPHA)
        hits["the trigger (with floor)"] += found[shifted].verdict == "drift"
        hits["another language flagged"] += any(significant(one) for name, one in found.items() if name != shifted)
        for row, name in enumerate(STATISTICS):
            joint = step_down_max_t(np.array([one.scores[row] for one in measured.values()]))
            hits[f"{name} alone, over 12 languages"] += bool(joint[LANGUAGES.index(shifted)] <= ALPHA)
        if number < EVIDENTLY_ROUNDS:
            hits.update(name for name, alarm in _rivals(bench, shifted, drawn[shifted]) if alarm)
    names = [
        "all four, the language by itself",
        "all four, over 12 languages",
        "the trigger (with floor)",
        "another language flagged",
    ]
    names += [f"{name} alone, over 12 languages" for name in STATISTICS]
    ours = {name: interval(hits[name], POWER_ROUNDS) for name in names}
    return ours | {name: interval(hits[name], EVIDENTLY_ROUNDS) for name in _names(bench)}


def one_of_two_hundred(bench: Bench, kind: str, share: float) -> dict[str, Any]:
    """200 streams, one of them shifted: is it flagged, and only it?"""
    streams = [(dataset, name) for dataset, own in bench.world.streams.items() for name in own]
    found_it = only_it = any_other = 0
    for number in range(FLEET_ROUNDS):
        rng = generator(0, "fleet", kind, str(number))
        shifted = ("sib200", str(rng.choice(LANGUAGES)))
        flagged = _flagged(bench, streams, {shifted: (KINDS[kind], share)}, rng)
        found_it += shifted in flagged
        any_other += bool(flagged - {shifted})
        only_it += flagged == {shifted}
    return {
        "streams": len(streams),
        "permutations": 999,
        "flagged": interval(found_it, FLEET_ROUNDS),
        "flagged, and no other": interval(only_it, FLEET_ROUNDS),
        "another flagged": interval(any_other, FLEET_ROUNDS),
    }


def _flagged(
    bench: Bench,
    streams: list[tuple[str, str]],
    shifted: Mapping[tuple[str, str], tuple[Draw, float]],
    rng: np.random.Generator,
) -> set[tuple[str, str]]:
    measured, drawn = {}, {}
    for dataset, language in streams:
        kind, share = shifted.get((dataset, language), (no_shift, 0.0))
        own = bench.world.streams[dataset][language]
        strays = bench.world.strays.get(language, own)
        one = kind(own, strays, SIZES["sib200" if dataset == "sib200" else "multiq"], share, rng)
        name = f"{dataset} {language}"
        drawn[name], measured[name] = one, bench.measured(language, one, 999, rng)
    found = judge(compared(measured, drawn), replace(SETTINGS, permutations=999))
    return {(name.partition(" ")[0], name.partition(" ")[2]) for name, one in found.items() if one.verdict == "drift"}


Part = Callable[[Bench], dict[str, Any]]


def parts() -> dict[str, Part]:
    """Return what there is to run, by name, the longest first."""
    found: dict[str, Part] = {
        "one of 200, new topic 40%": partial(one_of_two_hundred, kind="new topic", share=0.4),
        "one of 200, language mix 20%": partial(one_of_two_hundred, kind="language mix", share=0.2),
        "false alarms, sib200": partial(false_alarms, dataset="sib200"),
        "false alarms, multiq": partial(false_alarms, dataset="multiq"),
        "false alarms of other methods, per language": rivals_without_drift,
    }
    for kind in KINDS:
        for share in SHARES[kind]:
            found[f"power, {kind} {share:.0%}"] = partial(power, kind=kind, share=share)
    return found


@dataclass(frozen=True)
class Workshop:
    """Where the data are, and where the embedded rows lie; read for the first part of a process."""

    data: Path
    cache: Path

    @cached_property
    def bench(self) -> Bench:
        """The embedded rows."""
        return Bench(load(self.data, self.cache))

    def make(self, name: str, folder: Path) -> None:
        """Write ``result.json`` of a part."""
        start = time.monotonic()
        write_json(folder / "result.json", parts()[name](self.bench))
        click.echo(f"{name}: {time.monotonic() - start:.0f} s")


def inputs_digest(data: Path) -> str:
    """Digest the code and the data that results depend on."""
    here = Path(__file__).parent
    code = [code_digest(folder) for folder in (here, here.parents[1] / "compass_ops")]
    return value_digest([code, [tree_digest(data / name) for name in DATASETS]])


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of the data sets.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/benchmarks/drift"), show_default=True)
@processes_option
def main(data: Path, work: Path, processes: int) -> None:
    """Run what is not done yet, part by part."""
    digest = inputs_digest(data)
    workshop = Workshop(data, work / f"embedded-{digest[:12]}")
    load(workshop.data, workshop.cache)  # once, before several processes would
    names = list(parts())
    fan_out(("drift-part", 1), dict.fromkeys(names, digest), workshop.make, work / "parts", work / "memo", processes)
    write_json(RESULTS, {name: read_json(work / "parts" / name / "result.json") for name in names})


if __name__ == "__main__":
    main()

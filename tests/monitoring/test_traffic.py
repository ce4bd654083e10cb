import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pyarrow as pa
import pytest

from compass_ops.errors import DataFault, NoVectorError, ParamsError, SourceError
from compass_ops.monitoring.request_log import LogSettings
from compass_ops.monitoring.traffic import (
    Phase,
    SimulationSettings,
    Traffic,
    logged_traffic,
    simulated_traffic,
    write_traffic,
)
from compass_ops.monitoring.windows import Embedding, read_window
from compass_ops.storage import file_digests, read_json, read_table, write_table

FIELDS = {"time": "at", "language": "lang", "prompt": "q", "session": "chat", "label": "right"}
LANGUAGES = ["sw", "id"]


def _draw(language: str, topics: Mapping[str, float], size: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    names = sorted(topics)
    drawn = rng.choice(len(names), size, p=np.array([topics[name] for name in names]) / sum(topics.values()))
    return [
        {
            "id": f"{language}:{place}",
            "language": language,
            "role": "traffic",
            "prompt": f"{names[topic]} {place}",
            "completion": "",
            "choices": None,
            "answer": None,
            "topic": names[topic],
            "parallel_id": None,
            "source": "test",
            "weight": 1.0,
        }
        for place, topic in enumerate(drawn)
    ]


SIMULATION = SimulationSettings(
    windows=4,
    usage={"sw": {"a": 1.0}, "id": {"a": 1.0, "b": 3.0}},
    shifts={"sw": (Phase(2, {"b": 1.0}), Phase(4, {"c": 1.0}))},
)


def _topics(traffic: Traffic, language: str) -> list[set[str]]:
    return [set(traffic.windows[name][language].column("topic").to_pylist()) for name in sorted(traffic.windows)]


def test_phases_begin_at_their_window() -> None:
    traffic = simulated_traffic(SIMULATION, "0004", 30, _draw, 1)
    assert _topics(traffic, "sw") == [{"a"}, {"b"}, {"b"}, {"c"}]
    assert _topics(traffic, "id") == [{"a", "b"}] * 4
    assert {len(table) for tables in traffic.windows.values() for table in tables.values()} == {30}


def test_earlier_windows_never_change(tmp_path: Path) -> None:
    write_traffic(simulated_traffic(SIMULATION, "0002", 30, _draw, 1), tmp_path / "two")
    write_traffic(simulated_traffic(SIMULATION, "0004", 30, _draw, 1), tmp_path / "four")
    two, four = file_digests(tmp_path / "two"), file_digests(tmp_path / "four")
    shared = {name for name in two if name.endswith(".parquet")}
    assert {name: two[name] for name in shared} == {name: four[name] for name in shared}
    assert read_json(tmp_path / "four" / "windows.json") == ["0001", "0002", "0003", "0004"]
    assert len({four[f"{window}/id.parquet"] for window in ("0001", "0002", "0003", "0004")}) == 4


def test_a_language_leaves_the_others_as_they_were() -> None:
    more = SimulationSettings(4, {**SIMULATION.usage, "ca": {"a": 1.0}}, SIMULATION.shifts)
    before = simulated_traffic(SIMULATION, "0001", 30, _draw, 1).windows["0001"]["id"]
    assert simulated_traffic(more, "0001", 30, _draw, 1).windows["0001"]["id"].equals(before)


@pytest.mark.parametrize(("until", "match"), [("0005", "must be at most 0004"), ("1", "four digits"), ("000x", "four")])
def test_a_window_that_is_not_there(until: str, match: str) -> None:
    with pytest.raises(ParamsError, match=match):
        simulated_traffic(SIMULATION, until, 30, _draw, 1)


def _line(number: int, language: str, **other: object) -> str:
    return json.dumps({"at": f"2026-01-01T00:00:{number:02d}Z", "lang": language, "q": f"q{number}"} | other)


def settings(rows: int = 5, hours: float | None = None, files: tuple[str, ...] = ("*.jsonl",)) -> LogSettings:
    return LogSettings(files, FIELDS, rows, hours)


def _log(folder: Path, lines: list[str], rows: int = 5, hours: float | None = None) -> LogSettings:
    folder.mkdir(exist_ok=True)
    (folder / "log.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return settings(rows, hours)


def test_windows_are_counts_in_the_order_of_the_log(tmp_path: Path) -> None:
    lines = [_line(number, "sw" if number % 3 else "id") for number in range(20)]
    lines[5] = _line(59, "sw")  # late by its clock: the order of the log decides
    traffic = logged_traffic(_log(tmp_path, lines), "0002", LANGUAGES, tmp_path)
    prompts = {
        (name, language): table.column("prompt").to_pylist()
        for name, tables in traffic.windows.items()
        for language, table in tables.items()
    }
    assert prompts == {
        ("0001", "sw"): ["q1", "q2", "q4", "q59", "q7"],
        ("0002", "sw"): ["q8", "q10", "q11", "q13", "q14"],
        ("0001", "id"): ["q0", "q3", "q6", "q9", "q12"],
    }
    assert traffic.rejects == []


def test_appending_to_the_log_changes_no_window(tmp_path: Path) -> None:
    lines = [_line(number, "sw") for number in range(12)]
    before = logged_traffic(_log(tmp_path, lines), "0002", LANGUAGES, tmp_path)
    after = logged_traffic(_log(tmp_path, [*lines, *lines]), "0002", LANGUAGES, tmp_path)
    assert all(after.windows[name]["sw"].equals(before.windows[name]["sw"]) for name in ("0001", "0002"))


def test_sessions_labels_and_times_are_kept(tmp_path: Path) -> None:
    lines = [_line(0, "SW", chat=7, right="Nairobi"), _line(1, "swh", at=1767225601.5)]
    table = logged_traffic(_log(tmp_path, lines, 2), "0001", LANGUAGES, tmp_path).windows["0001"]["sw"]
    assert table.column("session").to_pylist() == ["7", None]
    assert table.column("completion").to_pylist() == ["Nairobi", ""]
    assert table.column("time").to_pylist() == ["2026-01-01T00:00:00+00:00", "2026-01-01T00:00:01.500000+00:00"]
    assert table.column("id").to_pylist() == ["sw:0001:000000", "sw:0001:000001"]


def test_texts_are_composed_as_records_are(tmp_path: Path) -> None:
    apart = normalize("NFD", "Ọjọ́ wo?")
    lines = [_line(0, "sw", q=f" {apart} ", right=apart)]
    table = logged_traffic(_log(tmp_path, lines, 1), "0001", LANGUAGES, tmp_path).windows["0001"]["sw"]
    assert table.column("prompt").to_pylist() == table.column("completion").to_pylist() == [normalize("NFC", apart)]
    assert normalize("NFC", apart) != apart


def test_malformed_rows_are_kept_aside_with_their_reasons(tmp_path: Path) -> None:
    faults = [
        ("{broken", "the line is no JSON"),
        ("[1]", "must be an object"),
        (_line(1, "sw", q=""), "prompt is missing"),
        (_line(1, "sw", q="  "), "prompt is empty"),
        (_line(1, "sw", q=5), "prompt must be text; got int"),
        (_line(1, "sw", at="yesterday"), "time is neither ISO 8601 nor seconds since 1970: 'yesterday'"),
        (_line(1, "sw", at=1e300), "time is no number of seconds between 1970 and 2100"),
        (_line(1, "sw", at=True), "time must be ISO 8601 or seconds since 1970; got bool"),
        (_line(1, "xx-unknown-language"), "xx-unknown-language"),
        (_line(1, "ca"), "language is none of the project's target languages: 'ca'"),
        (_line(1, "sw", q="\ud800"), "not valid Unicode"),
        (_line(1, "sw", chat="\ud800"), "session is not valid Unicode"),
    ]
    lines = [line for line, _ in faults] + [_line(2, "sw"), _line(3, "sw")]
    traffic = logged_traffic(_log(tmp_path, lines, 2), "0001", LANGUAGES, tmp_path)
    assert [reject.row for reject in traffic.rejects] == list(range(1, len(faults) + 1))
    for reject, (_, reason) in zip(traffic.rejects, faults, strict=True):
        assert reason in reject.told
    write_traffic(traffic, tmp_path / "out")
    kept = read_table(tmp_path / "out" / "rejects.parquet").to_pylist()
    assert kept[0]["record"] == "{broken"
    assert kept[9]["language"] == "ca"


TWELVE = "2026-09-22T20:00:00+00:00"


@pytest.mark.parametrize(
    ("at", "read"),
    [
        (1790107200, TWELVE),
        (1790107200.0, TWELVE),
        ("1790107200", TWELVE),
        (" 1790107200 ", TWELVE),
        ("1790107200.5", "2026-09-22T20:00:00.500000+00:00"),
        ("2026-09-22T22:00+02:00", TWELVE),
        ("20260922", "2026-09-22T00:00:00+00:00"),
        (0, "1970-01-01T00:00:00+00:00"),
        ("2100-12-31T23:59:59", "2100-12-31T23:59:59+00:00"),
    ],
)
def test_times_are_iso_or_seconds_also_as_text(tmp_path: Path, at: object, read: str) -> None:
    table = logged_traffic(_log(tmp_path, [_line(1, "sw", at=at)], 1), "0001", LANGUAGES, tmp_path).windows["0001"]
    assert table["sw"].column("time").to_pylist() == [read]


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        (1790107200123, "time is no number of seconds between 1970 and 2100, but would be as milliseconds"),
        ("1790112312345", "time is no number of seconds between 1970 and 2100, but would be as milliseconds"),
        (1790107200123456, "but would be as microseconds"),
        ("1790107200123456789", "but would be as nanoseconds"),
        ("9" * 400, "time is no number of seconds between 1970 and 2100: '9"),
        (-1, "time is no number of seconds between 1970 and 2100: -1"),
        (float("nan"), "time is no number of seconds between 1970 and 2100: nan"),
        ("1969-12-31T23:59Z", "time lies outside the years 1970 to 2100: '1969-12-31T23:59Z'"),
        ("2101-01-01", "time lies outside the years 1970 to 2100: '2101-01-01'"),
        ("0001-01-01T00:00+05:00", "time lies outside the years 1970 to 2100"),
    ],
)
def test_times_that_cannot_be_are_rejected_with_the_likely_cause(tmp_path: Path, at: object, reason: str) -> None:
    traffic = logged_traffic(_log(tmp_path, [_line(1, "sw", at=at), _line(2, "sw")], 1), "0001", LANGUAGES, tmp_path)
    assert len(traffic.rejects) == 1
    assert reason in traffic.rejects[0].told
    assert traffic.windows["0001"]["sw"].column("prompt").to_pylist() == ["q2"]


def test_a_csv_log_in_seconds(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("at,lang,q\n1790107200,sw,habari\n1790107200123,sw,nzuri\n", "utf-8")
    traffic = logged_traffic(settings(1, files=("*.csv",)), "0001", LANGUAGES, tmp_path)
    assert traffic.windows["0001"]["sw"].column("time").to_pylist() == [TWELVE]
    assert [reject.row for reject in traffic.rejects] == [2]


@pytest.mark.parametrize(
    ("label", "came"), [(4, "got int"), (True, "got bool"), (["a"], "got list"), ("\ud800", "not valid Unicode")]
)
def test_a_label_that_is_no_text_is_told_and_its_prompt_kept(tmp_path: Path, label: object, came: str) -> None:
    lines = [_line(0, "sw", right=label), _line(1, "sw", right="yes"), _line(2, "sw", right=None)]
    traffic = logged_traffic(_log(tmp_path, lines, 3), "0001", LANGUAGES, tmp_path)
    table = traffic.windows["0001"]["sw"]
    assert table.column("prompt").to_pylist() == ["q0", "q1", "q2"]
    assert table.column("completion").to_pylist() == ["", "yes", ""]
    write_traffic(traffic, tmp_path / "out")
    [told] = read_table(tmp_path / "out" / "rejects.parquet").to_pylist()
    assert (told["row"], told["language"]) == (1, "sw")
    assert told["reason"].startswith("label ignored, the prompt is kept: label ")
    assert came in told["reason"]


def test_a_log_of_labels_that_are_no_text_is_no_log_without_requests(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="must be at most 0000"):
        logged_traffic(_log(tmp_path, [_line(0, "sw", right=4)]), "0001", LANGUAGES, tmp_path)


def test_a_parquet_log(tmp_path: Path) -> None:
    rows = [json.loads(_line(number, "id")) for number in range(4)]
    write_table(tmp_path / "log.parquet", pa.Table.from_pylist(rows))
    traffic = logged_traffic(settings(rows=4, files=("*.parquet",)), "0001", LANGUAGES, tmp_path)
    assert traffic.windows["0001"]["id"].column("prompt").to_pylist() == ["q0", "q1", "q2", "q3"]


def test_a_log_without_a_complete_window(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="must be at most 0000"):
        logged_traffic(_log(tmp_path, [_line(1, "sw")]), "0001", LANGUAGES, tmp_path)
    (tmp_path / "log.jsonl").write_text("")
    with pytest.raises(ParamsError, match="must be at most 0000"):
        logged_traffic(settings(), "0001", LANGUAGES, tmp_path)


def test_a_log_whose_fields_are_named_otherwise(tmp_path: Path) -> None:
    log = _log(tmp_path, [_line(number, "sw") for number in range(9)])
    with pytest.raises(SourceError, match=r"none of the 9 rows .* prompt is missing: .*'question'"):
        logged_traffic(replace(log, fields=FIELDS | {"prompt": "question"}), "0001", LANGUAGES, tmp_path)


def test_no_window_yet_needs_no_log(tmp_path: Path) -> None:
    assert logged_traffic(settings(), "0000", LANGUAGES, tmp_path).windows == {}
    with pytest.raises(SourceError, match="no file matches"):
        logged_traffic(settings(), "0001", LANGUAGES, tmp_path)


def _prompts(traffic: Traffic) -> dict[str, dict[str, list[str]]]:
    return {
        name: {language: table.column("prompt").to_pylist() for language, table in tables.items()}
        for name, tables in traffic.windows.items()
    }


def test_windows_of_hours_are_shared_and_late_rows_go_to_the_next(tmp_path: Path) -> None:
    days = [*["2026-01-01T09:00Z"] * 6, "2026-01-02T23:00Z", *["2026-01-03T01:00Z"] * 6, "2026-01-01T10:00Z"]
    days += ["2026-01-05T00:00Z"] * 8
    lines = [_line(number, "sw" if number != 6 else "id", at=day) for number, day in enumerate(days)]
    traffic = logged_traffic(_log(tmp_path, lines, hours=48), "0002", LANGUAGES, tmp_path)
    first, late = ([f"q{number}" for number in part] for part in (range(6), range(7, 14)))
    assert _prompts(traffic) == {"0001": {"id": ["q6"], "sw": first}, "0002": {"sw": late}}
    with pytest.raises(ParamsError, match="must be at most 0002"):
        logged_traffic(_log(tmp_path, lines, hours=48), "0003", LANGUAGES, tmp_path)


def test_a_window_of_hours_never_changes_once_it_is_complete(tmp_path: Path) -> None:
    lines = [_line(number, "sw", at=f"2026-01-{number // 11 + 1:02d}T12:00Z") for number in range(44)]
    before = logged_traffic(_log(tmp_path, lines, hours=24), "0003", LANGUAGES, tmp_path)
    late = [*lines, _line(50, "sw", at="2026-01-01T00:00Z"), _line(51, "id", at="2025-12-01T00:00Z")]
    after = logged_traffic(_log(tmp_path, late, hours=24), "0003", LANGUAGES, tmp_path)
    assert _prompts(after) == _prompts(before)


def test_another_target_language_cuts_no_other_language_s_windows_anew(tmp_path: Path) -> None:
    """Prompts in a language that the project does not have yet tell the time all the same."""
    days = [("sw", 1)] * 6 + [("id", 2)] * 12 + [("sw", 1)] + [("sw", 2)] * 8 + [("sw", 3)] * 11
    lines = [_line(number, tag, at=f"2026-01-{day:02d}T12:00Z") for number, (tag, day) in enumerate(days)]
    log = _log(tmp_path, lines, hours=24)
    alone, both = (_prompts(logged_traffic(log, "0002", tags, tmp_path)) for tags in (["sw"], ["sw", "id"]))
    assert [window["sw"] for window in alone.values()] == [window["sw"] for window in both.values()]


def test_a_clock_far_ahead_is_rejected(tmp_path: Path) -> None:
    lines = [_line(0, "sw"), _line(1, "sw", at="2099-01-01T00:00Z")]
    lines += [_line(number, "sw") for number in range(2, 12)]
    lines += [_line(number, "sw", at="2026-01-02T00:00Z") for number in range(12, 20)]
    traffic = logged_traffic(_log(tmp_path, lines, hours=1), "0001", LANGUAGES, tmp_path)
    assert [reject.row for reject in traffic.rejects] == [2]
    assert "windows after the log's first, at most 9999" in traffic.rejects[0].reason


def _embed(texts: Sequence[str]) -> np.ndarray[Any, Any]:
    return np.array([[len(text), 1.0] for text in texts], np.float32)


def test_without_text_a_prompt_that_has_no_vector_is_a_fault_of_its_language_alone(tmp_path: Path) -> None:
    """Its text is gone, so that the window says what is wrong when it is read."""

    def embed(texts: Sequence[str]) -> np.ndarray[Any, Any]:
        vectors = _embed(texts)
        if "secret" not in texts:
            return vectors
        vectors[texts.index("secret")] = np.nan
        raise NoVectorError("The embedder gave no finite vector for 'secret' and 0 other texts.", vectors)

    lines = [_line(0, "sw"), _line(1, "id"), _line(2, "sw", q="secret"), _line(3, "id")]
    embedding = Embedding("e" * 64, "", embed)
    write_traffic(
        logged_traffic(_log(tmp_path / "log", lines, 2), "0001", LANGUAGES, tmp_path / "log"),
        tmp_path / "out",
        embedding,
    )
    folder = tmp_path / "out" / "0001"
    assert np.isfinite(read_window("id", folder / "id.parquet", embedding).vectors).all()
    with pytest.raises(DataFault, match="no vector for some prompts of window 0001") as caught:
        read_window("sw", folder / "sw.parquet", embedding)
    assert "secret" not in str(caught.value)


def test_without_text_nothing_that_was_written_is_kept(tmp_path: Path) -> None:
    secret = "simba mkubwa"
    lines = [
        _line(number, "sw", q=f"{secret} {number}", right=secret, chat=f"{secret} {number // 2}") for number in range(4)
    ]
    lines += [_line(5, secret), _line(6, "sw", q=[secret]), f"broken {secret}", _line(7, "sw", at=secret)]
    both = f"a' {secret} \"b"  # repr escapes one of the two quotes
    lines += [_line(8, both), _line(9, f"sw-{both}"), _line(10, "sw", at=both), _line(11, "sw", q="", right=both)]
    traffic = logged_traffic(_log(tmp_path / "log", lines, 4), "0001", LANGUAGES, tmp_path / "log")
    embedding = Embedding("e" * 64, "", _embed)
    write_traffic(traffic, tmp_path / "out", embedding)
    written = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert not [path for path, content in written.items() if b"simba" in content]
    table = read_table(tmp_path / "out" / "0001" / "sw.parquet")
    assert table.column("prompt").to_pylist() == [""] * 4
    assert table.column("session").to_pylist() == ["0", "0", "1", "1"]
    assert table.column("script").to_pylist() == ["LATIN"] * 4
    window = read_window("sw", tmp_path / "out" / "0001" / "sw.parquet", embedding)
    assert window.vectors[:, 0].tolist() == [14.0] * 4
    reasons = read_table(tmp_path / "out" / "rejects.parquet").column("reason").to_pylist()
    assert len(reasons) == 8
    assert {reason for reason in reasons if reason.startswith("time")} == {
        "time is neither ISO 8601 nor seconds since 1970"
    }

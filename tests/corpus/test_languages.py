"""Language tags: canonical spelling, refusals with a hint."""

import re
from pathlib import Path

import pytest

from compass_ops.corpus.languages import language_tag
from compass_ops.errors import SourceError

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("sw", "sw"),
        ("swh", "sw"),
        ("swh_Latn", "sw-Latn"),
        (" sw-latn ", "sw-Latn"),
        ("ZH-hant-tw", "zh-Hant-TW"),
        ("cmn-Hans", "zh-Hans"),
        ("eng", "en"),
        ("arb", "ar"),
        ("iw", "he"),
        ("sh", "sr-Latn"),
        ("sh-Cyrl", "sr-Cyrl"),
        ("es-419", "es-419"),
        ("ca-valencia", "ca-valencia"),
        ("pcm", "pcm"),
        ("nqo-Nkoo", "nqo-Nkoo"),
        ("mni-Mtei", "mni-Mtei"),
        ("tzm-Tfng", "tzm-Tfng"),
        ("hmn", "hmn"),
        ("lus", "lus"),
        ("gom-Deva", "kok-Deva"),
    ],
)
def test_tags_have_one_spelling(written: str, canonical: str) -> None:
    assert language_tag(written) == canonical
    assert language_tag(canonical) == canonical


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("swx1", "Did you mean sw"),
        ("english", r"Did you mean en\?"),
        ("Swahilli", "Did you mean sw"),
        ("sw-Ltan", "'Ltan' is not a known script. Did you mean Latn"),
        ("sw-Latin", "'LATIN' is not a known variant"),
        ("sw-QX", "'QX' is not a known region"),
        ("../x", "not the tag of a known language"),
        ("sw/../en", "not the tag of a known language"),
        ("sw\\en", "not the tag of a known language"),
        ("sw\nen", "not the tag of a known language"),
        ("ｓｗ", "not the tag of a known language"),
        ("und", "not the tag of a known language"),
        ("zz", "not the tag of a known language"),
        ("", "not the tag of a known language"),
        ("x" * 10_000, "not the tag of a known language"),
    ],
)
def test_what_is_no_tag_is_refused_each_time(written: str, hint: str) -> None:
    for _ in range(2):
        with pytest.raises(SourceError, match=hint) as caught:
            language_tag(written)
    assert len(str(caught.value)) < 200


def test_every_language_of_the_shared_data_is_known() -> None:
    if not SHARED.is_dir():
        pytest.skip(f"no shared data in {SHARED}")
    lines = (SHARED / "languages.tsv").read_text("utf-8").splitlines()[1:]
    tags = [line.split("\t")[0] for line in lines]
    canonical = {tag: language_tag(tag) for tag in tags}
    assert len(tags) == 132
    assert {tag: known for tag, known in canonical.items() if tag != known} == {"gom-Deva": "kok-Deva"}
    assert all(re.fullmatch(r"[A-Za-z0-9-]+", tag) for tag in canonical.values())
    assert len(set(canonical.values())) == 132

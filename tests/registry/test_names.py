import pytest

from compass_ops.errors import RegistryError
from compass_ops.registry.names import HISTORY, checked_version, known_language, language_of, model_name


@pytest.mark.parametrize("tag", ["sw", "fil", "zh-Hant", "pt-BR", "es-419", "sr-Latn-RS", "ca-valencia", "de-1996"])
def test_a_tag_and_its_model_name_belong_together(tag: str) -> None:
    assert language_of(model_name(tag)) == tag


@pytest.mark.parametrize(
    "text",
    ["", "../x", "sw'", "sw%", "sw or 1=1", "SW", "s", "sw-", "sw_TZ", "ѕw", "sw\n", "history", "a" * 300],
)
def test_anything_else_never_becomes_a_model_name(text: str) -> None:
    with pytest.raises(RegistryError, match="is not a language tag"):
        model_name(text)
    assert language_of(f"compass-{text}") is None


def test_the_history_is_not_a_language() -> None:
    assert language_of(HISTORY) is None
    assert language_of("somebody-elses-model") is None


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "٣", "1'", "9" * 10])
def test_a_version_is_a_whole_number(text: str) -> None:
    with pytest.raises(RegistryError, match="is not a version number"):
        checked_version(text)
    assert checked_version("17") == "17"


def test_an_unknown_language_names_close_ones() -> None:
    assert known_language("sw", ["sw", "tr"]) == "sw"
    with pytest.raises(RegistryError, match=r"swa: has no registered adapter. Did you mean sw\?"):
        known_language("swa", ["sw", "tr"])
    with pytest.raises(RegistryError, match="Registered: none yet"):
        known_language("sw", [])

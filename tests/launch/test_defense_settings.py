"""Settings of defenses on the command line."""

import pytest

from launch.flags import defense_settings


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("epochs=5", 5),
        ("epsilon=null", None),
        ('taps=["a", "b"]', ["a", "b"]),
        ("ends=backdoored", "backdoored"),
        ("layer=a=b", "a=b"),
    ],
)
def test_values_are_json_or_text(text, value):
    name = text.partition("=")[0]
    assert defense_settings.parse(text) == (name, value)


def test_settings_are_told_apart_by_defense():
    texts = ["anp.epsilon=null", "nad.epochs=20", "anp.threshold=0.2"]
    assert defense_settings.by_defense(texts) == {
        "anp": {"epsilon": None, "threshold": 0.2},
        "nad": {"epochs": 20},
    }


@pytest.mark.parametrize("text", ["anp.epsilon", "epsilon=0.5"])
def test_what_names_no_defense_or_value_is_refused(text):
    with pytest.raises(ValueError, match=f"--setting must be .* {text}$"):
        defense_settings.by_defense([text])

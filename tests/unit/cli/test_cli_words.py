"""Times, spans, counts, and text that is safe to show."""

import json
from datetime import UTC, datetime

import pytest

from coreo_cli.text import as_json, csv_cell, masked, plain
from coreo_cli.words import ago, expiry, failed_words, local, plural, span, span_seconds

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "m", "1y", "-5m", "1.5h", "5 m", "1h30", "٣m", "9999999999s"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a time span"):
        span_seconds(text)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.6, "1 min"),
        (90, "1 min 30 s"),
        (3600, "1 h"),
        (3601, "1 h 1 s"),
        (90061, "1 d 1 h"),
        (-5, "0 s"),
    ],
)
def test_spans_have_two_units_at_most(seconds: float, words: str) -> None:
    assert span(seconds) == words


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        ("2026-01-31T11:59:00Z", "1 min ago"),
        ("2026-01-31T12:00:00.5Z", "now"),
        ("2026-02-02T13:00:00+00:00", "in 2 d"),
    ],
)
def test_times_are_told_from_now(moment: str, words: str) -> None:
    assert ago(moment, now=NOW) == words


def test_no_time_is_a_dash() -> None:
    assert local(None) == "-"


def test_an_expiry_is_a_span_or_a_time_with_a_zone() -> None:
    assert expiry("90d", now=NOW) == "2026-05-01T12:00:00+00:00"
    assert expiry("2027-01-31T12:00:00+02:00") == "2027-01-31T12:00:00+02:00"
    for text in ("2027-01-31", "2027-01-31T12:00:00", "soon"):
        with pytest.raises(ValueError, match="with a zone"):
            expiry(text)


def test_counts_are_words() -> None:
    assert plural(1, "run") == "1 run"
    assert plural(0, "run") == "0 runs"
    assert failed_words({"failed_by_severity": {"low": 2, "critical": 1, "high": 0}}) == "1 critical, 2 low"
    assert failed_words({}) == "none failed"


@pytest.mark.parametrize(
    "character",
    [
        "\x00",
        "\n",
        "\x1b",
        "\x7f",
        "\x9b",
        "\u200b",
        "\u202e",
        "\u2066",
        "\ufeff",
        "\ud800",
        "\U000e0041",
        "\xad",
        "\u034f",
        "\u3164",
        "\u180e",
        "\ufe0f",
        "\U000e0100",
    ],
)
def test_characters_that_act_or_hide_are_shown_as_their_codes(character: str) -> None:
    assert plain(f"a{character}b").isprintable()
    assert character not in plain(f"a{character}b")
    assert plain(f"a{character}b") != "ab"
    text = as_json({f"k{character}": [f"v{character}"]})
    assert all(line.isprintable() and character not in line for line in text.split("\n"))
    assert json.loads(text) == {f"k{character}": [f"v{character}"]}


def test_other_letters_stay_as_they_are() -> None:
    assert plain("Zürich 生产环境 é ñ") == "Zürich 生产环境 é ñ"
    assert as_json(["Zürich"], indent=None) == '["Zürich"]'


def test_json_has_no_nan() -> None:
    with pytest.raises(ValueError, match="JSON"):
        as_json(float("nan"))


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)"])
def test_csv_cells_are_no_formulas(text: str) -> None:
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["\t=1", "\r=1", "a=1", "10.0.0.1"])
def test_csv_cells_that_are_no_formulas_stay(text: str) -> None:
    assert not csv_cell(text).startswith("'")
    assert csv_cell(text)[0] not in "=+-@\t\r"


def test_tokens_are_masked() -> None:
    assert masked(f"x coreo_{'a' * 43} y") == "x coreo_… y"

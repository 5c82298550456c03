"""YAML that nobody trusts: what is read, what is refused, and how fast."""

import time

import pytest

from coreo_shared.rules.errors import DefinitionError
from coreo_shared.rules.yamltext import MAX_BYTES, line_of, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1", {"a": 1}),
        ("a: -1.5e3", {"a": -1500.0}),
        ("a: .5", {"a": 0.5}),
        ("a: 1.", {"a": 1.0}),
        ("a: '1'", {"a": "1"}),
        ('a: "true"', {"a": "true"}),
        ("a: true\nb: false\nc: null\nd: ~\ne:", {"a": True, "b": False, "c": None, "d": None, "e": None}),
        # YAML 1.1's surprises stay text: Norway, times, octal and dates
        ("[no, yes, on, off, NO]", ["no", "yes", "on", "off", "NO"]),
        (
            "[22:22, 0o7, 0x1F, 1_000, 2026-01-01, .inf, .nan]",
            ["22:22", "0o7", "0x1F", "1_000", "2026-01-01", ".inf", ".nan"],
        ),
        ("a: >-\n  two\n  lines", {"a": "two lines"}),
        ("[[], {}, [{a: [b]}]]", [[], {}, [{"a": ["b"]}]]),
        ("- a: 1\n  b: 2\n- c", [{"a": 1, "b": 2}, "c"]),
        ("1: x\ntrue: y", {"1": "x", "true": "y"}),
        ("<<: {a: 1}", {"<<": {"a": 1}}),
        ("just text", "just text"),
    ],
)
def test_reads(text: str, value: object) -> None:
    assert read_yaml(text) == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "must be one YAML document"),
        ("a: 1\n---\nb: 2", "must be one YAML document"),
        ("a: 1\nb: &x 2", "f.yaml:2: anchors are not allowed"),
        ("a: *x", "f.yaml:1: aliases are not allowed"),
        ("a: !!python/object/apply:os.system [ls]", "f.yaml:1: tags are not allowed"),
        ("a: !!int 5", "f.yaml:1: tags are not allowed"),
        ("!x {a: 1}", "f.yaml:1: tags are not allowed"),
        ("b:\n  a: 1\n  a: 2", "f.yaml:3: this key is there twice"),
        ("? [a]\n: 1", "f.yaml:1: a key must be a plain word"),
        ("{{a: 1}: 2}", "a key must be a plain word"),
        ("a: [", "f.yaml:2: not YAML"),
        ("a: b: c", "f.yaml:1: not YAML"),
        ("\tx: 1", "f.yaml:1: not YAML"),
        ("a: \x00", "not YAML: a character is not allowed"),
        ("a: '\ud800'", "not YAML: a character is not allowed"),
        ("[" * 41 + "]" * 41, "f.yaml:1: nested deeper than 40"),
        ("a: " + "x" * MAX_BYTES, f"longer than {MAX_BYTES} bytes"),
        ("a: " + "ä" * (MAX_BYTES // 2), f"longer than {MAX_BYTES} bytes"),
        ("[" + "a," * 50_001 + "]", "more than 50000 values"),
    ],
)
def test_refuses(text: str, problem: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        read_yaml(text, "f.yaml")

    assert problem in str(caught.value)


_NINE_TIMES = "\n".join(f"a{level}: &a{level} [{','.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 12))


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        "{a: " * 60_000,
        "- " * 120_000,
        "a: &a [x]\n" + _NINE_TIMES,
        "? " * 100_000,
        "'" * 250_000,
        "a: |\n" + " x\n" * 80_000,
        "{" + ",".join(f"k{number}: 1" for number in range(25_000)) + "}",
        "#" * 250_000,
        "a: " + "9" * 250_000,
        "a: " + "1." * 100_000,
        "%YAML 1.1\n" * 20_000,
    ],
    ids=range(12),
)
def test_hostile_text_is_answered_within_a_second(text: str) -> None:
    start = time.monotonic()
    try:
        read_yaml(text)
    except DefinitionError as error:
        assert len(str(error)) < 300  # noqa: PT017  some of these texts are valid
    assert time.monotonic() - start < 1


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ((), 2),
        (("a",), 2),
        (("a", "b"), 3),
        (("a", "b", 1), 5),
        (("a", "b", 1, "c"), 5),
        (("a", "b", 1, "d"), 6),
        (("a", "e"), 7),
        (("a", "e", "nothing"), 7),
        (("a", "b", 1, "c", 0), 5),
        (("f", 0, 1), 8),
        (("g",), 9),
        (("h",), 2),
    ],
)
def test_line_of_a_place(path: tuple[str | int, ...], line: int) -> None:
    text = "# comment\na:\n  b:\n    - x\n    - c: 1\n      d: 2\n  e: {}\nf: [[1, 2]]\ng: 1\n"

    assert line_of(text, path) == line

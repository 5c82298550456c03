"""What a report shows when there is more than a page bears, and whether it can be read and searched."""

import random
import re
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest

from coreo_shared.catalogue import load_catalogue
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.terms import FindingStatus, Severity
from coreo_shared.exports import Format
from coreo_shared.exports.report import tally as tally_module
from coreo_shared.exports.report.tally import tally
from coreo_shared.exports.rows import Facts
from tests.support.browser import browser, opened
from tests.support.exports import finding, subject, written

RULES = tuple(load_catalogue().rules)
ROOM = 10


def many(number: int, status: FindingStatus, severity: Severity) -> list[Finding]:
    """So many, by rules of their own, three by each."""
    kind = list(FindingStatus).index(status) * len(Severity) + severity.rank
    return [
        msgspec.structs.replace(
            finding(1_000 * kind + each, status, rule=RULES[15 * kind + each // 3]), severity=severity
        )
        for each in range(number)
    ]


def shown(findings: list[Finding]) -> list[tuple[FindingStatus, Severity]]:
    found = tally(findings, Facts(load_catalogue()))
    kept = [each for rule in found.rules.values() for of_status in rule.shown.values() for each in of_status]
    assert found.shown == len(kept)
    assert found.total == len(findings)
    return sorted((each.status, each.severity) for each in kept)


@pytest.mark.parametrize("seed", range(20))
def test_in_whatever_order_they_come_the_worst_are_shown(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(tally_module, "MAX_SHOWN", ROOM)
    findings = [
        *many(12, FindingStatus.SUPPRESSED, Severity.CRITICAL),
        *many(12, FindingStatus.NOT_EVALUATED, Severity.CRITICAL),
        *many(12, FindingStatus.PASS, Severity.CRITICAL),
        *many(6, FindingStatus.FAIL, Severity.LOW),
        *many(3, FindingStatus.FAIL, Severity.CRITICAL),
    ]
    random.Random(seed).shuffle(findings)  # noqa: S311  an order, no secret
    fails = [(FindingStatus.FAIL, Severity.CRITICAL)] * 3 + [(FindingStatus.FAIL, Severity.LOW)] * 6
    assert shown(findings) == sorted([*fails, (FindingStatus.NOT_EVALUATED, Severity.CRITICAL)])


def test_a_rule_whose_findings_have_no_room_is_still_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally_module, "MAX_SHOWN", 1)
    low = many(2, FindingStatus.NOT_EVALUATED, Severity.LOW)
    text = written(Format.HTML, [*low, *many(1, FindingStatus.FAIL, Severity.HIGH)])
    assert "2 not known" in text
    assert "Not shown one by one." in text


def test_text_stands_out_in_light_and_dark() -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1."""
    style = files("coreo_shared.exports.report").joinpath("style.css").read_text(encoding="utf-8")
    themes = [
        dict(re.findall(r"--(\w+): (#\w+)", theme)) for theme in re.findall(r":root \{([^}]*--ink[^}]*)\}", style)
    ]
    assert len(themes) == 2
    for theme in themes:
        for name in set(theme) - {"page", "card", "line", "tint"}:
            assert _contrast(theme[name], theme["card"]) >= 4.5, name
        for name, ground in [(name, ground) for name in ("ink", "quiet") for ground in ("page", "tint")]:
            assert _contrast(theme[name], theme[ground]) >= 4.5, (name, ground)


def _contrast(one: str, other: str) -> float:
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.skipif(browser() is None, reason="there is no Chromium here: install one to run this")
@pytest.mark.parametrize(
    ("wanted", "rules", "rows"),
    [("", 2, 4), ("Needle", 1, 1), ("bucket-versioning", 1, 2), ("nowhere to be found", 0, 0)],
    ids=["nothing", "a resource", "a rule", "neither"],
)
def test_a_search_leaves_the_rows_that_it_finds(tmp_path: Path, wanted: str, rules: int, rows: int) -> None:
    findings = [
        finding(1, text="needle", rule="s3-bucket-versioning"),
        finding(2, text="hay", rule="s3-bucket-versioning"),
        finding(3, text="hay", rule="iam-root-access-key"),
        finding(4, text="hay", rule="iam-root-access-key"),
    ]
    text = written(Format.HTML, findings, subject())
    page = tmp_path / "report.html"
    page.write_text(text.replace('id="search"', f'id="search" value="{wanted}"'), encoding="utf-8")
    after, console = opened(page, tmp_path / "profile")
    assert console == []
    sections = re.findall(r'<details class="rule".*?(?=<details class="rule"|<section|</main>)', after, re.DOTALL)
    visible = [each for each in sections if " hidden" not in each.partition(">")[0]]
    assert (len(sections), len(visible)) == (2, rules)
    assert sum(len(re.findall(r"<tr><td>(?:needle|hay)", each)) for each in visible) == rows
    assert f"{rules} of 2 rules" in after

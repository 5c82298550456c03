"""The HTML report: nothing in it acts but its own script, nothing leaves it, and it says what is not known."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.terms import FindingStatus
from coreo_shared.exports import Format
from coreo_shared.exports.report.tally import MAX_OF_RULE
from tests.support.browser import browser, opened
from tests.support.exports import finding, odd_findings, subject, written

VOID = {"meta", "input", "br", "img", "link", "hr"}


class Page(HTMLParser):
    """Elements and text as a browser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.inline: dict[str, list[str]] = {"style": [], "script": []}
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        within = self._open[-1] if self._open else ""
        self.inline.get(within, self.texts).append(data)

    @property
    def text(self) -> str:
        return "\n".join(self.texts)


def report(findings: list[Finding], *, complete: bool = True) -> str:
    rules = {each.rule_id for each in findings}
    return written(Format.HTML, findings, subject(*sorted(rules), complete=complete))


def test_hostile_names_stay_text() -> None:
    page = Page(report(odd_findings()))
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == tags.count("style") == 1
    assert "img" not in tags
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert "</script><script>alert(1)</script>" in page.text
    assert "\u202e" not in page.text


def test_only_the_reports_own_script_and_style_may_act() -> None:
    page = Page(report(odd_findings()))
    (policy,) = [
        attributes["content"] or ""
        for tag, attributes in page.elements
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives["default-src"] == "'none'"
    for kind in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256("".join(page.inline[kind]).encode()).digest()).decode()
        assert directives[f"{kind}-src"] == f"'sha256-{digest}'"
    assert not [attributes for _, attributes in page.elements if "style" in attributes]  # the policy would stop it


def test_nothing_is_loaded_from_elsewhere() -> None:
    page = Page(report(odd_findings()))
    assert not [tag for tag, _ in page.elements if tag in {"link", "img", "iframe", "object", "base", "form"}]
    assert not [attributes for _, attributes in page.elements if "src" in attributes]
    assert not re.search(r"url\(|@import", "".join(page.inline["style"]))
    assert not re.search(r"fetch|XMLHttp|eval|innerHTML|import\(", "".join(page.inline["script"]))


def test_what_is_not_known_is_said_on_top() -> None:
    findings = [finding(1, FindingStatus.PASS), finding(2, FindingStatus.NOT_EVALUATED)]
    page = Page(report(findings, complete=False))
    assert "None of 2 checks failed. 1 could not be judged." in page.text
    assert "This report is not complete. " in page.text
    assert "s3:GetBucketVersioning" in page.text


def test_a_whole_report_says_nothing_of_the_kind() -> None:
    text = report([finding(1, FindingStatus.PASS)])
    assert "not complete" not in text
    assert "Nothing failed, and everything could be judged." in text


def test_many_findings_are_all_counted_and_not_all_shown() -> None:
    many = MAX_OF_RULE + 50
    page = Page(report([finding(number) for number in range(many)]))
    assert f"{many} of {many} checks failed" in page.text
    assert f"{MAX_OF_RULE} of {many} findings are shown in detail" in page.text
    assert "and 50 more" in page.text


def test_frameworks_are_summed_up_by_control() -> None:
    rules = ["iam-root-access-key", "s3-bucket-versioning"]
    found = [finding(1, FindingStatus.FAIL, rule="iam-root-access-key")]
    page = Page(written(Format.HTML, found, subject(*rules, frameworks=("cis-aws-5.0",))))
    assert "CIS AWS Foundations Benchmark 5.0" in page.text
    assert "0 %" in page.text
    assert "a person must answer" in page.text


def test_every_input_has_a_name() -> None:
    page = Page(report(odd_findings()))
    labels = [tag for tag, _ in page.elements if tag == "label"]
    inputs = [tag for tag, _ in page.elements if tag in {"input", "select"}]
    assert len(labels) >= len(inputs) >= 4
    assert [attributes.get("lang") for tag, attributes in page.elements if tag == "html"] == ["en"]


@pytest.mark.skipif(browser() is None, reason="there is no Chromium here: install one to run this")
def test_the_report_opens_in_a_browser_without_a_word_on_its_console(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(report(odd_findings(), complete=False), encoding="utf-8")
    after, console = opened(page, tmp_path / "profile")
    assert console == []
    assert re.search(r"\d+ of \d+ rules", after)  # the script ran to its end


@pytest.mark.skipif(browser() is None, reason="there is no Chromium here: install one to run this")
def test_the_browser_would_tell_of_what_the_policy_stops(tmp_path: Path) -> None:
    """And so of a script that had slipped in."""
    page = tmp_path / "report.html"
    text = report(odd_findings()).replace("</body>", "<script>console.error('mine')</script></body>")
    page.write_text(text, encoding="utf-8")
    _, console = opened(page, tmp_path / "profile")
    assert any("Content Security Policy" in line for line in console)
    assert not any("mine" in line for line in console)

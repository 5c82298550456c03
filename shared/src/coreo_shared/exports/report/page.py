"""The page: a sentence, charts, frameworks, then what failed with how to put it right."""

import base64
import hashlib
from collections.abc import Iterable
from datetime import datetime
from importlib.resources import files
from typing import Final, TextIO

from coreo_shared.catalogue import Catalogue
from coreo_shared.catalogue.compliance import ControlResult, ControlStatus, RuleCounts, Summary, summarise
from coreo_shared.catalogue.frameworks import load_frameworks
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.terms import FindingStatus, Severity
from coreo_shared.exports.report.charts import bars, donut, gauge
from coreo_shared.exports.report.markup import Html, element, empty
from coreo_shared.exports.report.rules import rule_section
from coreo_shared.exports.report.tally import MAX_OF_RULE, Tally, tally
from coreo_shared.exports.rows import Facts
from coreo_shared.exports.subject import Subject

_STATUS_WORDS: Final = {
    FindingStatus.FAIL: ("failed", "fail"),
    FindingStatus.NOT_EVALUATED: ("not known", "unknown"),
    FindingStatus.SUPPRESSED: ("suppressed", "suppressed"),
    FindingStatus.PASS: ("passed", "pass"),
}
_CONTROL_WORDS: Final = {
    ControlStatus.PASS: ("pass", "pass"),
    ControlStatus.MANUAL_DONE: ("answered: met", "pass"),
    ControlStatus.FAIL: ("fail", "fail"),
    ControlStatus.NOT_EVALUATED: ("not known", "unknown"),
    ControlStatus.MANUAL_OPEN: ("a person must answer", "quiet"),
    ControlStatus.NOT_APPLICABLE: ("nothing to judge", "quiet"),
    ControlStatus.NOT_RUN: ("not in this run", "quiet"),
    ControlStatus.NOT_COVERED: ("no rule for it", "quiet"),
}


def write(findings: Iterable[Finding], subject: Subject, facts: Facts, out: TextIO) -> None:
    """The whole page."""
    found = tally(findings, facts)
    style, script = _part("style.css"), _part("script.js")
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    title = f"Coreo: AWS account {subject.account_id}"
    out.write('<!doctype html>\n<html lang="en">\n')
    out.write(
        element(
            "head",
            empty("meta", charset="utf-8"),
            empty("meta", http_equiv="Content-Security-Policy", content=policy),
            empty("meta", name="viewport", content="width=device-width, initial-scale=1"),
            empty("meta", name="referrer", content="no-referrer"),
            element("title", title),
            Html(f"<style>{style}</style>"),
        )
    )
    out.write("\n<body>\n")
    out.write(_top(found, subject))
    out.write("\n<main>\n")
    out.write(_charts(found))
    out.writelines(_frameworks(found, subject, facts.catalogue))
    out.writelines(_findings(found))
    out.write(_passed(found))
    out.write("\n</main>\n")
    out.write(_footer(subject))
    out.write(f"\n<script>{script}</script>\n</body>\n</html>\n")


def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def sentence(found: Tally) -> str:
    """The report in a sentence."""
    if not found.total:
        return "Nothing was found to check."
    failed = found.by_status[FindingStatus.FAIL]
    if failed:
        severe = [f"{found.failed_by_severity[each]:,} {each}" for each in Severity if found.failed_by_severity[each]]
        words = f"{failed:,} of {found.total:,} checks failed: {', '.join(severe)}."
    else:
        words = f"None of {found.total:,} checks failed."
    unknown = found.by_status[FindingStatus.NOT_EVALUATED]
    return f"{words} {unknown:,} could not be judged." if unknown else words


def _top(found: Tally, subject: Subject) -> Html:
    warning = None
    if not subject.complete:
        unknown = found.by_status[FindingStatus.NOT_EVALUATED]
        warning = element(
            "p",
            element("b", "This report is not complete. "),
            f"{unknown:,} checks could not be judged; what is not known is not counted as passed."
            if unknown
            else "The run ended before everything was read.",
            class_="warning",
        )
    seconds = (subject.ended_at - subject.started_at).total_seconds()
    places = ", ".join(subject.regions) if len(subject.regions) <= 6 else f"{len(subject.regions)} regions"
    return element(
        "header",
        element(
            "div",
            element("div", "Coreo audit report", class_="eyebrow"),
            element("h1", f"AWS account {subject.account_id}"),
            element("p", sentence(found), class_="lead"),
            element(
                "div",
                element("span", "Read ", element("b", _when(subject.started_at)), f" in {seconds:,.0f} s"),
                element("span", "Regions ", element("b", places or "global services only")),
                element("span", "Rules ", element("b", f"{len(subject.rules):,}")),
                element("span", "Run ", element("b", subject.run_id)),
                class_="facts",
            ),
            warning,
        ),
        class_="top",
    )


def _charts(found: Tally) -> Html:
    shares = [(words, found.by_status[status], kind) for status, (words, kind) in _STATUS_WORDS.items()]
    shares = [share for share in shares if share[1] or share[2] != "suppressed"]
    severities = [(each.value, found.failed_by_severity[each], each.value) for each in Severity]
    services = [(name, number, "plain") for name, number in found.failed_by_service.most_common()]
    regions = [(name, number, "plain") for name, number in found.failed_by_region.most_common()]
    return element(
        "section",
        donut("All checks", shares, f"{found.by_status[FindingStatus.FAIL]:,}", "failed"),
        bars("Failed by severity", severities if found.failed_by_severity else []),
        bars("Failed by service", services),
        bars("Failed by region", regions),
        class_="grid",
        aria_label="Charts",
    )


def _frameworks(found: Tally, subject: Subject, catalogue: Catalogue) -> Iterable[Html]:
    known = load_frameworks()
    counts = {name: found.rules[name].counts() if name in found.rules else RuleCounts() for name in subject.rules}
    names = [name for name in subject.frameworks if name in known]
    if names:
        yield element("h2", "Frameworks")
    for name in names:
        yield _framework(summarise(known[name], catalogue, counts, subject.answers.get(name)))


def _framework(summary: Summary) -> Html:
    if summary.pass_rate is None:
        rate = element(
            "div", "Not known", element("span", ": no control could be judged", class_="quiet"), class_="rate"
        )
    else:
        words = element("span", " of the controls that are known pass", class_="quiet")
        rate = element("div", f"{100 * summary.pass_rate:.0f} %", words, class_="rate")
    told = ", ".join(f"{count} {_CONTROL_WORDS[status][0]}" for status, count in summary.by_status.items() if count)
    return element(
        "div",
        element("h3", summary.framework.title),
        rate,
        gauge(summary.pass_rate),
        element("p", told, class_="quiet"),
        element(
            "details",
            element("summary", "All controls"),
            element(
                "div",
                element(
                    "table",
                    _head("Control", "", "Status", "Failed checks"),
                    element("tbody", *(_control(result) for result in summary.controls)),
                ),
                class_="scroll",
            ),
        ),
        class_="card",
    )


def _control(result: ControlResult) -> Html:
    words, kind = _CONTROL_WORDS[result.status]
    failed = sum(counts.failed for counts in result.rules.values() if counts is not None)
    return element(
        "tr",
        element("td", result.control.id),
        element("td", result.control.title),
        element("td", words, class_=f"status {kind}"),
        element("td", f"{failed:,}" if failed else ""),
    )


def _findings(found: Tally) -> Iterable[Html]:
    statuses = (FindingStatus.FAIL, FindingStatus.NOT_EVALUATED, FindingStatus.SUPPRESSED)
    sections = [(status, rule) for status in statuses for rule in found.with_status(status)]
    yield element("h2", "What to look at")
    if not sections:
        yield element("p", "Nothing failed, and everything could be judged.")
    services = sorted({rule.facts.service for _, rule in sections})
    yield element(
        "div",
        element("label", "Search", empty("input", id="search", type="search", placeholder="resource, rule, control …")),
        _picker("severity", "Severity", [each.value for each in Severity]),
        _picker("status", "Status", [_STATUS_WORDS[status][0] for status in statuses]),
        _picker("service", "Service", services),
        element("label", "Shown", element("span", "", id="count", role="status")),
        class_="filters",
        id="filters",
        hidden=True,
    )
    everything = sum(rule.by_status[status] for status, rule in sections)
    if found.shown < everything:
        yield element(
            "p",
            f"{found.shown:,} of {everything:,} findings are shown in detail, at most {MAX_OF_RULE} of a rule and the "
            "worst first; "
            "the counts are of all. The other formats hold every one.",
            class_="warning",
        )
    for status, rule in sections:
        yield rule_section(rule, status, _STATUS_WORDS[status])


def _picker(name: str, label: str, choices: Iterable[str]) -> Html:
    options = [element("option", "all", value=""), *(element("option", each, value=each) for each in choices)]
    return element("label", label, element("select", *options, id=name))


def _passed(found: Tally) -> Html:
    rules = sorted(
        (rule for rule in found.rules.values() if rule.by_status[FindingStatus.PASS]),
        key=lambda rule: rule.facts.id,
    )
    if not rules:
        return Html("")
    rows = [
        element(
            "tr",
            element("td", rule.facts.title, element("span", rule.facts.id, class_="id")),
            element("td", f"{rule.by_status[FindingStatus.PASS]:,}"),
        )
        for rule in rules
    ]
    return element(
        "section",
        element("h2", "What passed"),
        element(
            "details",
            element("summary", f"{len(rules)} rules with checks that passed"),
            element("table", _head("Rule", "Passed"), element("tbody", *rows)),
            class_="card",
        ),
    )


def _head(*titles: str) -> Html:
    return element("thead", element("tr", *(element("th", title, scope="col") for title in titles)))


def _footer(subject: Subject) -> Html:
    return element(
        "footer",
        f"Made by Coreo {subject.version} on {_when(subject.ended_at)}. It shows the account as it was read, and holds "
        "the names and settings of its resources: keep it as you keep those.",
    )


def _when(moment: datetime) -> str:
    return moment.strftime("%d %B %Y, %H:%M UTC")

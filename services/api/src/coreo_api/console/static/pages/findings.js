// A run's findings, with filters that stand in the address. What was suppressed or could not be judged is never a pass.

import { fill, h } from "../core/dom.js";
import { SEVERITIES, STATUSES, runTitle } from "../core/text.js";
import { listing } from "../parts/listing.js";
import { badge, choice, code, facts, field, notice, severityBadge, statusBadge, table, when } from "../parts/ui.js";

const CHANGES = { NEW: "new", UNCHANGED: "unchanged", CHANGED: "changed", RESOLVED: "resolved" };

export async function showFindings({ api, names, id, query, place, signal, titled }) {
  const run = await api.get(`runs/${id}`, {}, { signal });
  const [plans, rules, counts] = await Promise.all([
    names.plans([run.plan_id]), api.get(`runs/${id}/rules`, {}, { signal }), api.get(`runs/${id}/counts`, {}, { signal })]);
  const value = (name) => query.get(name) ?? "";
  const to = (name) => (event) => {
    const next = new URLSearchParams(query);
    if (event.target.value) next.set(name, event.target.value);
    else next.delete(name);
    location.hash = `#/runs/${id}/findings?${next}`;
  };
  const resource = h("input", {
    id: "resource", type: "search", value: value("resource"), autocomplete: "off", spellcheck: "false",
    on: { change: to("resource") },
  });
  const all = ["", "All"];
  const statuses = Object.entries(STATUSES).map(([each, [word]]) => [each, word]);
  const ids = rules.items.map((each) => [each.rule_id, each.rule_id]).sort();
  const changes = choice("change", [all, ...Object.entries(CHANGES)], value("change"), to("change"));
  const filters = h("div", { class: "filters", role: "search", "aria-label": "Findings" },
    field("Status", choice("status", [all, ...statuses], value("status"), to("status"))),
    field("Severity", choice("severity", [all, ...SEVERITIES.map((each) => [each, each])], value("severity"), to("severity"))),
    field("Rule", choice("rule", [all, ...ids], value("rule_id"), to("rule_id"))),
    run.ended_at ? field("Since the run before", changes) : null,
    field("Resource", resource, "Its id or ARN, whole."));
  const wanted = Object.fromEntries(["status", "severity", "rule_id", "change", "resource"].map((name) => [name, value(name)]));
  const list = await listing({
    load: (cursor) => api.get(`runs/${id}/findings`, { ...wanted, cursor, limit: 100 }, { signal }),
    show: (items) => table({
      caption: "Findings", columns: ["Status", "Severity", "Resource", "What was found"], rows: items.map(row),
      empty: Object.values(wanted).some(Boolean) ? "No finding is like that." : noneWords(run),
    }),
    name: "finding",
  });
  fill(place,
    h("p", { class: "crumbs" }, h("a", { href: `#/runs/${id}` }, runTitle(run, plans.get(run.plan_id)?.name)), " / findings"),
    titled("Findings"),
    countTags(run, counts),
    run.ended_at ? null : notice("wait", "The run is at work", h("p", {}, "These are what is stored so far.")),
    run.state === "PARTIAL"
      ? notice("wait", "Not everything could be judged", h("p", {}, run.reason ?? "Some findings are not evaluated.")) : null,
    filters, h("section", { class: "card" }, list));
}

/** How many of each, as links to those; what failed is told by severity. */
export function countTags(run, counts) {
  const link = (query, count, word, kind) => {
    const href = `#/runs/${run.id}/findings?${new URLSearchParams(query)}`;
    return h("a", { class: `badge ${kind}`, href }, `${count.toLocaleString("en")} ${word}`);
  };
  const failed = SEVERITIES.filter((severity) => counts.failed_by_severity[severity] > 0).map((severity) =>
    link({ status: "FAIL", severity }, counts.failed_by_severity[severity], severity, `severity ${severity}`));
  const others = Object.entries(STATUSES).filter(([status]) => status !== "FAIL" && counts.by_status[status] > 0)
    .map(([status, [word, kind]]) => link({ status }, counts.by_status[status], word, kind));
  if (failed.length + others.length > 0) return h("p", { class: "tags" }, failed, others);
  return h("p", { class: "empty" }, noneWords(run));
}

/** That there are none says something only of a run that came to its end. */
function noneWords(run) {
  if (run.ended_at === null) return "None so far.";
  return run.state === "SUCCEEDED" ? "There are none." : "None are stored.";
}

function row(each) {
  const isOwn = !each.rule_severity || each.rule_severity === each.severity;
  const isTold = each.change && each.change !== "UNCHANGED" && each.status !== "PASS";
  return [
    [statusBadge(each.status), isTold ? h("div", {}, badge(CHANGES[each.change] ?? each.change, "quiet")) : null],
    [severityBadge(each.severity, each.status),
      isOwn ? null : h("div", { class: "quiet small" }, `the rule's own: ${each.rule_severity}`)],
    [h("strong", {}, each.resource_id), h("div", { class: "quiet mono small" }, `${each.resource_type}, ${each.region}`)],
    [h("div", {}, each.message), h("div", { class: "quiet mono small" }, each.rule_id), why(each), more(each)],
  ];
}

/** Why it was not judged, or is left out. */
function why(each) {
  if (each.status === "NOT_EVALUATED") {
    const actions = each.missing_actions.map((action, at) => [at > 0 ? ", " : "", code(action)]);
    return h("p", { class: "unsure-text" }, each.reason ?? "It could not be judged.",
      actions.length > 0 ? [" Missing: ", actions, "."] : null);
  }
  if (each.status === "SUPPRESSED") return h("p", { class: "quiet" }, "Suppressed: ", each.suppression_reason ?? "without a reason");
  return null;
}

function more(each) {
  const evidence = JSON.stringify(each.evidence, null, 2);
  return h("details", {}, h("summary", {}, "Evidence"),
    facts([
      ["ARN", each.resource_arn && code(each.resource_arn)], ["First seen", each.first_seen && when(each.first_seen)],
      ["Before", each.previous_status && statusBadge(each.previous_status)], ["Fingerprint", code(each.fingerprint)],
    ]),
    evidence === "{}" ? h("p", { class: "quiet" }, "There is none.") : h("pre", { tabindex: "0" }, code(evidence)));
}

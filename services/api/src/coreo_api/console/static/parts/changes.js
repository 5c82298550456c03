// A preview: the table of what would change, and what gates and rules say of it.

import { h } from "../core/dom.js";
import { countsOf, plural, sortOf } from "../core/text.js";
import { badge, code, notice, severityBadge, statusBadge, table, typeName, when } from "./ui.js";

const OPERATIONS = {
  create: "makes the stack", update: "changes the stack", delete: "deletes the stack", none: "nothing to do",
};
const KINDS = { add: "good", change: "busy", replace: "bad", remove: "bad", keep: "quiet" };
const WHOLE = { add: "all of it is new", remove: "all of it goes", keep: "it stays when the stack goes" };
const MAX_DETAILS = 4;

export function previewWords(preview) {
  const words = OPERATIONS[preview.operation] ?? preview.operation;
  return preview.operation === "none" ? words : `${words}: ${countsOf(preview.changes)}`;
}

export function showPreview(preview) {
  const gates = new Map();
  for (const hit of preview.gates) gates.set(hit.logical_id, [...(gates.get(hit.logical_id) ?? []), hit]);
  return [
    h("p", { class: "lead" }, `${preview.stack_name} in ${preview.account_id}, ${preview.region}: ${previewWords(preview)}.`),
    h("p", { class: "quiet" }, "Made ", when(preview.made_at), ", of the stack ",
      preview.stack_status ? ["as it is ", code(preview.stack_status)] : "that is not there yet", ". Preview ",
      code(preview.hash.slice(0, 12)), "…"),
    preview.gates.map(gateNotice),
    table({
      caption: "What would change",
      columns: ["Action", "Resource", "Type", "Replaced", "What changes"],
      rows: preview.changes.map((change) => changeRow(change, gates.get(change.logical_id) ?? [])),
      empty: "No resource would change.",
    }),
    preview.notes.map((note) => h("p", { class: "quiet" }, note)),
    rulesPart(preview),
  ];
}

function gateNotice(hit) {
  const verb = hit.effect === "replace" ? "replaced" : "removed";
  const change = [h("strong", {}, hit.logical_id), ` (${hit.type}) would be ${verb}. `];
  const gate = ["The plan's gate on ", code(hit.resource_type)];
  if (hit.allowed) {
    return notice("wait", "A gate was told to let this pass",
      h("p", {}, change, gate, " would refuse that; whoever started this run let it pass."));
  }
  return notice("bad", "A gate refuses this", h("p", {}, change, gate, " refuses that, so it is not applied. To let it pass once, "
    + `start a run anew with “Let pass this once: ${hit.logical_id}”.`));
}

function changeRow(change, hits) {
  const sort = sortOf(change);
  const replaced = { True: badge("yes", "bad"), Conditional: badge("perhaps", "bad") }[change.replacement] ?? "no";
  const policy = change.policy_action?.replace(/\B[A-Z]/g, " $&").toLowerCase(); // ReplaceAndSnapshot, as words
  const cells = [
    [badge(change.action, KINDS[sort]), policy ? h("div", { class: "quiet small" }, policy) : null],
    [h("strong", {}, change.logical_id),
      change.physical_id ? h("div", { class: "quiet mono small" }, change.physical_id) : null,
      change.nested_change_set_arn ? nestedWords(change.nested_change_set_arn) : null,
      hits.map((hit) => h("div", {}, badge(hit.allowed ? "gate: let pass" : "gate: refused", hit.allowed ? "wait" : "bad")))],
    typeName(change.type),
    sort === "add" || sort === "remove" || sort === "keep" ? "–" : replaced,
    details(change),
  ];
  return { cells, class: sort === "remove" || sort === "replace" ? "grave" : null };
}

function nestedWords(arn) {
  return h("div", { class: "quiet small" }, "a stack of its own, changed by ", code(arn));
}

function details(change) {
  const all = change.details.map(detail);
  if (all.length === 0 && change.scope.length > 0) return change.scope.join(", ");
  if (all.length === 0) return h("span", { class: "quiet" }, WHOLE[sortOf(change)] ?? "AWS does not say what");
  const first = h("ul", { class: "details" }, all.slice(0, MAX_DETAILS));
  if (all.length <= MAX_DETAILS) return first;
  return [first, h("details", {},
    h("summary", {}, `and ${all.length - MAX_DETAILS} more`), h("ul", { class: "details" }, all.slice(MAX_DETAILS)))];
}

function detail(each) {
  const name = each.path || [each.attribute, each.name].filter(Boolean).join(".");
  const causes = { Always: badge("replaces", "bad"), Conditionally: badge("may replace", "bad") };
  const told = each.before !== null || each.after !== null;
  const quiet = [
    each.cause ? ` because of ${each.cause}` : "", each.evaluation === "Dynamic" ? " known only when it is done" : "",
  ];
  return h("li", {},
    h("div", {}, code(name), " ", causes[each.recreation], h("span", { class: "quiet" }, quiet)),
    told ? h("div", { class: "values" }, value("del", "before", each.before), value("ins", "after", each.after)) : null);
}

function value(tag, label, text) {
  if (text === null) return h("span", { class: "nothing" }, h("span", { class: "unseen" }, `${label}: `), "none");
  return h(tag, {}, h("span", { class: "unseen" }, `${label}: `), readable(text));
}

/** JSON is put on lines, so that a policy can be read. */
function readable(text) {
  if (!/^[[{]/.test(text)) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text; // it only begins like JSON, or AWS has cut it
  }
}

function rulesPart(preview) {
  const passed = preview.findings_passed;
  if (preview.findings.length === 0 && passed === 0) return null;
  return [
    h("h3", {}, "What rules say of the template"),
    preview.findings.length === 0 ? null : table({
      caption: "Rules on the template",
      columns: ["Status", "Severity", "Rule", "Resource", "Why"],
      rows: preview.findings.map((each) => [
        statusBadge(each.status), severityBadge(each.severity, each.status), h("span", { class: "mono small" }, each.rule_id),
        [h("strong", {}, each.logical_id), h("div", { class: "quiet" }, typeName(each.type))], each.reason ?? each.message,
      ]),
    }),
    passed > 0 ? h("p", { class: "quiet" }, `${plural(passed, "check")} passed.`) : null,
  ];
}

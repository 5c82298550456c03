// What a run leaves to be read beside its preview: outputs, the first cause of a failure, drift.

import { h } from "../core/dom.js";
import { plural } from "../core/text.js";
import { badge, code, copyButton, facts, items, notice, table, typeName, when } from "./ui.js";

export function outputsTable(outputs) {
  return [
    h("p", { class: "quiet" }, "The stack is ", code(outputs.stack_status), "."),
    table({
      caption: "Outputs of the stack",
      columns: ["Output", "Value", "What it is"],
      rows: outputs.outputs.map((each) => [
        h("strong", {}, each.key), [code(each.value), " ", copyButton(each.value, `value of ${each.key}`)],
        [each.description ?? "", each.export_name ? h("div", { class: "quiet" }, `exported as ${each.export_name}`) : null],
      ]),
      empty: "The stack has no outputs.",
    }),
  ];
}

/** The first cause, then what followed, then what to do. */
export function failurePart(failure) {
  return [
    notice("bad", failure.code.replaceAll("_", " "), h("p", {}, failure.message),
      failure.denied_action ? h("p", {}, "Missing permission: ", code(failure.denied_action)) : null),
    failure.first ? facts([
      ["First cause", h("strong", {}, failure.first.logical_id)], ["Type", code(failure.first.type)],
      ["Status", code(failure.first.status)], ["At", when(failure.first.at)],
    ]) : null,
    failure.first?.reason ? h("blockquote", {}, failure.first.reason) : null,
    failure.others.length > 0 ? followed(failure.others) : null,
    failure.advice.length > 0 ? [h("h3", {}, "What to do"), items(failure.advice)] : null,
  ];
}

function followed(events) {
  return h("details", {}, h("summary", {}, `${plural(events.length, "failure")} that followed`), table({
    caption: "Failures that followed", columns: ["Resource", "Status", "AWS says"],
    rows: events.map((each) => [each.logical_id, code(each.status), each.reason ?? ""]),
  }));
}

const DRIFTS = {
  IN_SYNC: ["in sync", "good"], MODIFIED: ["modified", "bad"], DELETED: ["deleted", "bad"],
  NOT_CHECKED: ["not checked", "quiet"], UNKNOWN: ["unknown", "unsure"],
};

const DRIFT_WORDS = {
  IN_SYNC: "Nothing that could be compared has drifted.", DRIFTED: "The stack has drifted.",
  UNKNOWN: "AWS cannot say whether the stack has drifted.",
};

export function driftPart(drift) {
  const rows = [...drift.resources].sort((one, two) => rank(two.status) - rank(one.status));
  const inSync = rows.filter((each) => each.status === "IN_SYNC").length;
  const share = ` ${inSync} of ${plural(rows.length, "resource")} in sync.`;
  return [
    h("p", { class: "lead" }, DRIFT_WORDS[drift.status], h("span", { class: "quiet" }, share)),
    table({
      caption: "Resources beside the template",
      columns: ["State", "Resource", "Type", "Difference"],
      rows: rows.map((each) => [
        badge(...(DRIFTS[each.status] ?? [each.status, "quiet"])),
        [h("strong", {}, each.logical_id), each.physical_id ? h("div", { class: "quiet mono small" }, each.physical_id) : null],
        typeName(each.type),
        each.differences.length > 0 ? h("ul", { class: "details" }, each.differences.map(difference)) : each.reason ?? "–",
      ]),
      empty: "The stack has no resources.",
    }),
  ];
}

function rank(status) {
  return { DELETED: 4, MODIFIED: 3, UNKNOWN: 2, NOT_CHECKED: 1 }[status] ?? 0;
}

function difference(each) {
  const template = each.type === "ADD" ? null : h("del", {}, h("span", { class: "unseen" }, "template: "), each.expected);
  const actual = each.type === "REMOVE" ? null : h("ins", {}, h("span", { class: "unseen" }, "in AWS: "), each.actual);
  const words = { ADD: "is there beside the template", REMOVE: "is gone", NOT_EQUAL: "is another than the template's" };
  return h("li", {}, h("div", {}, code(each.path), h("span", { class: "quiet" }, ` ${words[each.type] ?? each.type}`)),
    h("div", { class: "values" }, template, actual));
}

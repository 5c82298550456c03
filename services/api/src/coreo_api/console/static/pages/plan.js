// A plan: what it does, the buttons that start it, and its runs.

import { fill, h } from "../core/dom.js";
import { ACTIONS, plural } from "../core/text.js";
import { listing } from "../parts/listing.js";
import { runTable } from "../parts/runs.js";
import { askToStart } from "../parts/start.js";
import { badge, button, facts, notice, section, table, when } from "../parts/ui.js";
import { scheduleWords, whatWords, whereWords } from "./plans.js";

export async function showPlan(context) {
  const { api, names, id, place, signal, titled, token } = context;
  const plan = await api.get(`plans/${id}`, {}, { signal });
  const accounts = await names.accounts(plan.cloud_account_ids);
  const runs = await listing({
    load: (cursor) => api.get("runs", { plan_id: id, cursor, limit: 25 }, { signal }),
    show: (items) => runTable(items, { accounts, plans: null, caption: `Runs of ${plan.name}`, empty: "It has not run yet." }),
    name: "run",
  });
  const mayStart = token.scopes.includes("plan");
  const start = (action) => askToStart(context, { plan, accounts, action });
  const actions = plan.kind === "deploy" ? Object.keys(ACTIONS) : [null];
  const kinds = { apply: "primary", destroy: "danger" };
  const buttons = actions.map((action) => button(action === null ? "Run now" : ACTIONS[action], () => start(action), {
    kind: action === null ? "primary" : kinds[action] ?? "", disabled: !mayStart || !plan.enabled,
  }));
  fill(place,
    titled(plan.name, badge(plan.kind, "quiet"), plan.enabled ? null : badge("off", "quiet")),
    h("div", { class: "buttons" }, buttons),
    mayStart ? null : h("p", { class: "quiet" }, "Your token has not the scope plan, which starting a run takes."),
    plan.enabled ? null : h("p", { class: "quiet" }, "The plan is turned off: it does not run."),
    plan.last_tick_problem
      ? notice("wait", "Its schedule last started no run, or not all", h("p", {}, plan.last_tick_problem)) : null,
    section("The plan", planFacts(plan, accounts), plan.kind === "deploy" ? lintTable(plan.lint) : null),
    section("Runs", runs));
}

function planFacts(plan, accounts) {
  const { spec } = plan;
  const common = [
    ["What", whatWords(plan)], ["Where", whereWords(plan, accounts)], ["Schedule", scheduleWords(plan)],
    ["Revision", [plan.revision.toLocaleString("en"), ", changed ", when(plan.updated_at)]],
  ];
  if (plan.kind !== "deploy") return facts(common);
  return facts([...common,
    ["Template", spec.template_url ?? `${plural(spec.template_bytes, "byte")}, SHA-256 ${spec.template_sha256.slice(0, 12)}…`],
    ["Approval", approvalWords(spec.approval)],
    ["Gates", spec.gates.map(gateWords)],
    ["Works with", spec.service_role ? `service role ${spec.service_role}` : plural(spec.permissions.length, "stated IAM action")],
    ["Judged by", [...spec.rule_sets, ...spec.rules, ...spec.rule_packs].join(", ")],
    ["Refused from", spec.refuse_severity ? `a failed rule of severity ${spec.refuse_severity}` : null],
  ].filter(([label, value]) => label !== "Gates" || value.length > 0));
}

function gateWords(gate) {
  const refused = gate.refuse.map((each) => ({ replace: "replaced", remove: "removed" })[each]).join(" or ");
  return h("div", {}, h("code", {}, gate.resource_type), ` must not be ${refused}`);
}

function approvalWords(approval) {
  if (approval.auto) return "nobody is asked: what a preview shows is applied";
  const who = approval.requester_may_approve ? "" : ", others than who started the run";
  return `${plural(approval.approvers, "token")} must approve${who}, within ${Math.round(approval.expires_seconds / 3600)} h`;
}

function lintTable(lint) {
  if (lint === null || lint.length === 0) return null;
  return h("details", {}, h("summary", {}, `${plural(lint.length, "remark")} about the template`), table({
    caption: "What was said of the template", columns: ["Line", "Rule", "Remark"],
    rows: lint.map((each) => [`${each.line}:${each.column}`, h("code", {}, each.rule), each.message]),
  }));
}

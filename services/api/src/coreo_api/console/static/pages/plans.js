// The team's plans.

import { fill, h } from "../core/dom.js";
import { accountWords } from "../core/names.js";
import { plural } from "../core/text.js";
import { listing } from "../parts/listing.js";
import { badge, table, when } from "../parts/ui.js";

const MAX_NAMED = 3;

export async function showPlans({ api, names, place, signal, titled }) {
  const accounts = await names.accounts();
  const show = (plans) => table({
    caption: "Plans",
    columns: ["Plan", "Kind", "What", "Where", "Schedule"],
    rows: plans.map((plan) => [
      [h("a", { href: `#/plans/${plan.id}`, class: "strong" }, plan.name), plan.enabled ? null : [" ", badge("off", "quiet")]],
      badge(plan.kind, plan.kind === "deploy" ? "busy" : "quiet"),
      whatWords(plan),
      whereWords(plan, accounts),
      scheduleWords(plan),
    ]),
    empty: "There are no plans yet. Make one with coreo plan create or coreo deploy init.",
  });
  const list = await listing({ load: (cursor) => api.get("plans", { cursor, limit: 50 }, { signal }), show, name: "plan" });
  fill(place, titled("Plans"), h("section", { class: "card" }, list));
}

export function whatWords({ kind, spec }) {
  if (kind === "deploy") return `stack ${spec.stack_name}`;
  const parts = [[spec.rule_sets, "rule set"], [spec.rules, "rule"], [spec.rule_packs, "pack"]];
  return parts.filter(([list]) => list.length > 0).map(([list, name]) =>
    list.length <= MAX_NAMED ? list.join(", ") : plural(list.length, name)).join("; ");
}

export function whereWords(plan, accounts) {
  const ids = plan.cloud_account_ids;
  const named = ids.length > MAX_NAMED ? plural(ids.length, "account")
    : ids.map((id) => accountWords(accounts, id)).join(", ");
  return `${ids.length === 0 ? "no account" : named}; ${plan.spec.regions.join(", ")}`;
}

export function scheduleWords(plan) {
  if (plan.schedule === null) return "–";
  const cron = h("code", {}, plan.schedule.cron);
  const zone = ` ${plan.schedule.time_zone}`;
  return [cron, zone, plan.next_run_at ? [", next ", when(plan.next_run_at)] : null];
}

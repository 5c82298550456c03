// A table of runs, as it stands on several pages.

import { h } from "../core/dom.js";
import { accountWords, planWords } from "../core/names.js";
import { ACTIONS, SEVERITIES, plural } from "../core/text.js";
import { badge, stateBadge, table, when } from "./ui.js";

/** `plans` null: they are all of one plan, which is not named. */
export function runTable(runs, { accounts, plans, caption, empty }) {
  const columns = ["Run", "State", ...(plans ? ["Plan"] : []), "Where", "Progress", "Started"];
  const rows = runs.map((run) => [
    h("a", { href: `#/runs/${run.id}`, class: "strong" }, run.deploy ? ACTIONS[run.deploy.action] : "Audit",
      h("span", { class: "quiet mono" }, ` …${run.id.slice(-6)}`)),
    stateBadge(run),
    ...(plans ? [h("a", { href: `#/plans/${run.plan_id}` }, planWords(plans, run.plan_id))] : []),
    [run.deploy ? `${run.deploy.stack_name} in ` : "", accountWords(accounts, run.cloud_account_id),
      run.deploy ? `, ${run.deploy.region}` : ""],
    progressWords(run),
    [when(run.created_at), run.trigger === "schedule" ? h("span", { class: "quiet" }, " by schedule") : null],
  ]);
  return table({ caption, columns, rows, empty });
}

function progressWords(run) {
  const failed = failedWords(run);
  if (run.ended_at && (failed || !run.deploy)) return failed ?? (run.state === "SUCCEEDED" ? "nothing failed" : "–");
  if (run.units_total === null) return "–";
  return `${run.units_done} of ${plural(run.units_total, run.deploy ? "resource" : "unit")}`;
}

/** What failed, worst first; null when nothing did. */
function failedWords(run) {
  const counts = run.counts.failed_by_severity;
  const found = SEVERITIES.filter((severity) => counts[severity] > 0);
  const unknown = run.counts.by_status.NOT_EVALUATED ?? 0;
  if (found.length === 0 && unknown === 0) return null;
  return h("span", { class: "tags" },
    found.map((severity) => badge(`${counts[severity].toLocaleString("en")} ${severity}`, `severity ${severity}`)),
    unknown > 0 ? badge(`${unknown.toLocaleString("en")} not evaluated`, "unsure") : null);
}

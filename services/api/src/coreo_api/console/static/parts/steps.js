// How far a run is: the steps of its kind, and a bar of its resources or units.

import { h } from "../core/dom.js";
import { STATES, plural } from "../core/text.js";

const CHANGES = ["Queued", "Preview", "Approval", "Changing the stack", "Done"];
const LOOKS = ["Queued", "Working", "Done"];
const ENDS = {
  SUCCEEDED: "good", PARTIAL: "unsure", FAILED: "bad", ROLLED_BACK: "bad", CANCELED: "quiet", EXPIRED: "quiet",
  OUTCOME_UNKNOWN: "alarm",
};
const CHANGING = ["APPLYING", "OUTCOME_UNKNOWN", "ROLLED_BACK"];

function changesStack(run) {
  return run.deploy !== null && ["apply", "destroy"].includes(run.deploy.action);
}

/** The number of the step that the run is at, or ended at. */
export function stepOf(run) {
  const over = run.ended_at !== null || run.state === "OUTCOME_UNKNOWN";
  if (!changesStack(run)) {
    if (run.state === "SUCCEEDED" || run.state === "PARTIAL") return 2;
    return run.state === "QUEUED" || (over && run.attempt === 0) ? 0 : 1;
  }
  const { documents, approved_by: approved } = run.deploy;
  if (run.state === "SUCCEEDED") return 4;
  if (CHANGING.includes(run.state) || documents.events > 0) return 3;
  if (run.state === "AWAITING_APPROVAL") return 2;
  if (approved.length > 0) return 3;
  if (over) return documents.preview ? 2 : run.attempt > 0 ? 1 : 0;
  return documents.preview || run.state !== "QUEUED" || run.attempt > 0 ? 1 : 0;
}

export function steps(run) {
  const names = changesStack(run) ? CHANGES : LOOKS;
  const at = stepOf(run);
  const end = ENDS[run.state];
  return h("ol", { class: "steps", "aria-label": "Steps" }, names.map((name, number) => {
    const done = number < at || (number === at && end === "good");
    const kind = number === at ? end ?? (run.state === "AWAITING_APPROVAL" ? "wait" : "busy") : done ? "good" : "next";
    const said = number === at ? ` (${STATES[run.state][0]})` : done ? " (done)" : "";
    return h("li", { class: kind, "aria-current": number === at ? "step" : null }, name, h("span", { class: "unseen" }, said));
  }));
}

/** The bar. Without a total it says that something is at work, and no more. */
export function progress(run) {
  const things = run.deploy ? "resource" : "unit";
  const total = run.units_total;
  const isAtWork = ["CLAIMED", "RUNNING", "APPLYING"].includes(run.state);
  if (total === null && !isAtWork) return null;
  const words = total === null ? "At work; how much there is to do is not known yet."
    : `${run.units_done.toLocaleString("en")} of ${plural(total, things)} done`;
  const known = total === null ? {} : { max: Math.max(total, 1), value: run.units_done };
  const bar = h("progress", { id: "progress", ...known });
  return h("div", { class: "progress" }, h("label", { for: "progress" }, words), bar);
}

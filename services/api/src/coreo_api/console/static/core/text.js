// Words: what the api says, as people read it. Nothing here touches the page.

// Controls, marks that turn the direction of text, invisible characters: a name must not look like another.
const UNSAFE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029\ufff9-\ufffb\p{Default_Ignorable_Code_Point}\p{Cs}]/gu;

/** The text with what would not show, or would turn its direction, written out. Lines and tabs stay. */
export function plain(value) {
  return String(value).replace(UNSAFE, (mark) => `\\u${mark.codePointAt(0).toString(16).padStart(4, "0")}`);
}

export function plural(count, name, many = `${name}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? name : many}`;
}

const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

/** Seconds as `2 h 5 min`: two units at most. */
export function duration(seconds) {
  let rest = Math.max(0, Math.round(seconds));
  const words = [];
  for (const [unit, size] of UNITS) {
    if (rest >= size || (unit === "s" && words.length === 0)) words.push(`${Math.floor(rest / size)} ${unit}`);
    else if (words.length > 0) break;
    rest %= size;
    if (words.length === 2) break;
  }
  return words.join(" ");
}

export function ago(iso) {
  const seconds = (Date.now() - Date.parse(iso)) / 1000;
  if (Number.isNaN(seconds)) return plain(iso);
  if (seconds < 0) return `in ${duration(-seconds)}`;
  return seconds < 5 ? "just now" : `${duration(seconds).split(" ").slice(0, 2).join(" ")} ago`;
}

export function moment(iso) {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return plain(iso);
  return at.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
}

export function clock(iso) {
  const at = new Date(iso);
  return Number.isNaN(at.getTime()) ? plain(iso) : at.toLocaleTimeString("en-GB");
}

// State -> [word, kind]. The kind is a colour; the word says it too.
export const STATES = {
  QUEUED: ["queued", "quiet"],
  CLAIMED: ["starting", "busy"],
  RUNNING: ["running", "busy"],
  AWAITING_APPROVAL: ["waits for approval", "wait"],
  APPLYING: ["applying", "busy"],
  OUTCOME_UNKNOWN: ["outcome unknown", "alarm"],
  SUCCEEDED: ["succeeded", "good"],
  PARTIAL: ["partial", "unsure"],
  FAILED: ["failed", "bad"],
  CANCELED: ["canceled", "quiet"],
  EXPIRED: ["expired", "quiet"],
  ROLLED_BACK: ["rolled back", "bad"],
};
export const FINAL = new Set(["SUCCEEDED", "PARTIAL", "FAILED", "CANCELED", "EXPIRED", "ROLLED_BACK"]);
export const AT_WORK = ["QUEUED", "CLAIMED", "RUNNING", "APPLYING"];
export const FOR_PEOPLE = ["AWAITING_APPROVAL", "OUTCOME_UNKNOWN"];

export const STATUSES = {
  FAIL: ["fail", "bad"],
  PASS: ["pass", "good"],
  NOT_EVALUATED: ["not evaluated", "unsure"],
  SUPPRESSED: ["suppressed", "quiet"],
};
export const SEVERITIES = ["critical", "high", "medium", "low", "info"];
export const ACTIONS = { preview: "Preview", apply: "Apply", drift: "Drift check", destroy: "Destroy" };

/** What a run does, as a heading. */
export function runTitle(run, plan) {
  return run.deploy ? `${ACTIONS[run.deploy.action]} ${run.deploy.stack_name}` : `Audit ${plan ?? ""}`.trim();
}

/** How a change of a preview counts: add, change, replace, remove, keep. */
export function sortOf(change) {
  if (change.action === "Add" || change.action === "Import") return "add";
  if (change.action === "Remove") return "remove";
  if (change.action === "Retain") return "keep";
  return change.replacement === "True" || change.replacement === "Conditional" ? "replace" : "change";
}

const SORTS = { add: "to add", change: "to change", replace: "to replace", remove: "to remove", keep: "kept" };

export function countsOf(changes) {
  const counts = new Map(Object.keys(SORTS).map((sort) => [sort, 0]));
  for (const change of changes) counts.set(sortOf(change), counts.get(sortOf(change)) + 1);
  const words = [...counts].filter(([, count]) => count > 0).map(([sort, count]) => `${count} ${SORTS[sort]}`);
  return words.join(", ") || "no changes";
}

/** Whether what a preview shows takes something away that people may miss, or AWS cannot tell what it does. */
export function isDestructive({ operation, changes }) {
  const isGrave = (change) => change.action === "Dynamic" || ["remove", "replace"].includes(sortOf(change));
  return operation === "delete" || changes.some(isGrave);
}

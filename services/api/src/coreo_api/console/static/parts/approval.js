// A run that waits for approval: who has approved, how many are missing, and the two answers.

import { h } from "../core/dom.js";
import { tokenWords } from "../core/names.js";
import { isDestructive, moment, plural } from "../core/text.js";
import { previewWords } from "./changes.js";
import { ask, reasonField } from "./dialog.js";
import { button, code, notice, section, when } from "./ui.js";

/** `anew`: the preview is another one than was shown before. */
export function approvalPanel(context, { run, preview, tokens, anew }) {
  const { approval } = run.deploy;
  const may = context.token.scopes.includes("approve");
  const mine = approval.approved_by.includes(context.token.id);
  const isShown = preview !== null && preview.hash === approval.hash;
  const approve = button("Approve …", () => askToApprove(context, run, preview), {
    kind: isShown && isDestructive(preview) ? "danger" : "primary", id: "approve", disabled: !may || mine || !isShown,
  });
  const reject = button("Reject …", () => askToReject(context, run), { id: "reject", disabled: !may });
  return h("section", { class: "card wait-card", "aria-labelledby": "approval-title" },
    h("h2", { id: "approval-title" }, "Waits for approval"),
    anew ? notice("wait", "This is another preview than before", h("p", {}, "The stack or the template has changed since, "
      + "and what was approved before counts no more. Look at it again.")) : null,
    h("p", {}, approvedWords(approval.approved_by, tokens, context.token.id), missingWords(approval)),
    h("p", { class: "quiet" }, "It expires ", when(approval.expires_at), "."),
    isShown ? null : h("p", {}, "It can be approved when the preview that waits is shown below."),
    mine ? h("p", {}, "You have approved this; somebody else must too.") : null,
    may ? null : h("p", {}, "Your token has not the scope approve. Sign in with one that has to decide."),
    h("div", { class: "buttons" }, approve, reject));
}

function approvedWords(ids, tokens, mine) {
  if (ids.length === 0) return "Nobody has approved it yet. ";
  const names = ids.map((id, at) => [at > 0 ? ", " : "", h("strong", {}, tokenWords(tokens, id)), id === mine ? " (you)" : ""]);
  return ["Approved by ", names, ". "];
}

function missingWords({ needed, approved_by: approved }) {
  const missing = needed - approved.length;
  const of = needed > 1 ? ` of ${needed}, each by another token` : "";
  return `${plural(missing, "approval")} ${missing === 1 ? "is" : "are"} missing${of}.`;
}

/** Approves the preview that is shown while this is asked, and no other: its hash goes with the approval. */
async function askToApprove(context, run, preview) {
  const { api } = context;
  const grave = isDestructive(preview);
  await ask({
    title: `Approve this ${run.deploy.action}?`,
    body: [
      h("p", {}, "It ", h("strong", {}, previewWords(preview)), "."),
      h("p", { class: "quiet" }, `${preview.stack_name} in ${preview.account_id}, ${preview.region}. Preview `,
        code(preview.hash.slice(0, 12)), "…"),
      grave ? notice("bad", "Something may be removed or replaced",
        h("p", {}, "What is in those resources may be lost. Coreo cannot bring it back.")) : null,
    ],
    confirm: "Approve",
    kind: grave ? "danger" : "primary",
    typed: grave ? preview.stack_name : null,
    act: async () => {
      const decided = await api.post(`runs/${run.id}/approve`, undefined, { "If-Match": `"${preview.hash}"` });
      context.decided(decided);
      return decided;
    },
    onProblem: (problem) => {
      if (problem.status !== 412) return false;
      context.previewChanged();
      return true;
    },
  });
}

async function askToReject(context, run) {
  const reason = reasonField("Why", "It is kept with the name of your token.");
  await ask({
    title: `Reject this ${run.deploy.action}?`,
    body: [h("p", {}, "The run ends, and nothing is changed."), reason.row],
    confirm: "Reject",
    kind: "danger",
    act: async () => context.decided(await context.api.post(`runs/${run.id}/reject`, { reason: reason.control.value })),
  });
}

const WORDS = {
  APPROVED: "approved it", REJECTED: "rejected it", RECONCILED: "had a worker look again", SETTLED: "settled it",
};

/** Who decided what about the run: entries of the log of decisions, oldest first. */
function decisionList(decisions) {
  return h("ul", { class: "plainlist" }, decisions.map((each) => h("li", {},
    h("strong", {}, each.author), ` ${WORDS[each.action] ?? each.action}`,
    each.details.outcome ? [" as ", code(each.details.outcome)] : "",
    each.details.hash ? [", preview ", code(each.details.hash.slice(0, 12)), "…"] : "",
    each.details.reason ? [": ", h("q", {}, each.details.reason)] : "",
    h("span", { class: "quiet" }, `, ${moment(each.at)}`))));
}

/** The run's decisions, oldest first: entries of the team's log that are not older than the run. */
export async function loadDecisions(api, run) {
  const found = [];
  let cursor = null;
  for (;;) {
    const page = await api.get("decisions", { kind: "deploy", limit: 200, cursor });
    found.push(...page.items.filter((each) => each.subject === run.id));
    const oldest = page.items.at(-1);
    if (page.next_cursor === null || Date.parse(oldest.at) < Date.parse(run.created_at)) return found.reverse();
    cursor = page.next_cursor;
  }
}

/** Nothing where nobody has decided anything. */
export function decisionsPart(decisions) {
  return decisions.length === 0 ? [] : section("Who decided", decisionList(decisions));
}

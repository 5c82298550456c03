// OUTCOME_UNKNOWN: nobody can say what became of a change. What to look at in AWS, and what to do with the answer.

import { h } from "../core/dom.js";
import { ask, reasonField } from "./dialog.js";
import { button, choice, code, command, facts, field, items, notice, when } from "./ui.js";

const OUTCOMES = { SUCCEEDED: "it was done", ROLLED_BACK: "CloudFormation undid it", FAILED: "it was not done, or in part" };

export function outcomePart(context, page) {
  const may = context.token.scopes.includes("approve");
  const look = button("Have a worker look again …", () => askToReconcile(context, page), {
    kind: "primary", id: "reconcile", disabled: !context.token.scopes.includes("plan"),
  });
  const settle = (outcome) => button(`Settle as ${outcome} …`, () => askToSettle(context, page, outcome),
    { kind: "small", disabled: !may });
  return h("section", { class: "card alarm-card", "aria-labelledby": "outcome-title" },
    h("h2", { id: "outcome-title" }, "Nobody can say what became of this"),
    notice("alarm", "The stack is locked", h("p", {}, "AWS may have been told to change it, and no answer says whether it did. ",
      "No other run touches ", h("strong", {}, page.stack_name), " until a worker has found out, or a person has looked and says so.")),
    facts([
      ["Action", page.action], ["Stack", `${page.stack_name} in ${page.account_id}, ${page.region}`],
      ["Stack ARN", page.stack_arn && code(page.stack_arn)], ["Change set", page.change_set_arn && code(page.change_set_arn)],
      ["Token in AWS's events", code(page.token)], ["AWS was told", page.applied_at && when(page.applied_at)],
      ["In AWS", h("a", { href: page.console_url, target: "_blank", rel: "noreferrer noopener" }, "The stack in the AWS console")],
    ]),
    page.advice.length > 0 ? [h("h3", {}, "What the last worker left"), items(page.advice)] : null,
    h("h3", {}, "1. Let a worker look"),
    h("p", {}, "If the account could not be reached and can be now, a worker finds out by itself. It changes nothing."),
    h("div", { class: "buttons" }, look),
    h("h3", {}, "2. Or look yourself"),
    h("ol", { class: "checks" }, page.checks.map((check) => h("li", {}, h("p", {}, check.question), command(check.command)))),
    h("h3", {}, "3. Then say what you saw"),
    h("ul", { class: "verdicts" }, page.verdicts.map((verdict) => verdictItem(verdict, page, settle))),
    may ? null : h("p", { class: "quiet" }, "To settle it takes a token with the scope approve."));
}

/** What follows from what was seen; the request that the api names is a button here. */
function verdictItem(verdict, page, settle) {
  const request = new RegExp(`POST /v1/runs/${page.run_id}/settle \\{"outcome": "(SUCCEEDED|ROLLED_BACK|FAILED)"\\}`);
  const found = request.exec(verdict.do);
  const words = verdict.do
    .replace(request, (_, outcome) => `settle it as ${outcome}`)
    .replace(`POST /v1/runs/${page.run_id}/reconcile: a worker looks again`, "have a worker look again");
  return h("li", {}, h("p", {}, h("strong", {}, "If: "), verdict.seen), h("p", {}, h("strong", {}, "Then: "), words),
    found ? settle(found[1]) : null);
}

async function askToReconcile(context, page) {
  await ask({
    title: "Have a worker look again?",
    body: h("p", {}, "It asks AWS what became of the change, and changes nothing. The stack stays locked until it knows."),
    confirm: "Look again",
    act: async () => context.decided(await context.api.post(`runs/${page.run_id}/reconcile`)),
  });
}

async function askToSettle(context, page, outcome) {
  const options = Object.entries(OUTCOMES).map(([value, words]) => [value, `${value}: ${words}`]);
  const said = choice("settle-outcome", options, outcome);
  const reason = reasonField("What you saw", "It is kept with the name of your token.");
  await ask({
    title: "Settle this run?",
    body: [
      h("p", {}, "You say how it ended, and sign for it. The stack is free again at once, and nobody checks what you say."),
      field("How it ended", said), reason.row,
    ],
    confirm: "Settle",
    kind: "danger",
    typed: page.stack_name,
    act: async () => {
      const body = { outcome: said.value, reason: reason.control.value };
      return context.decided(await context.api.post(`runs/${page.run_id}/settle`, body));
    },
  });
}

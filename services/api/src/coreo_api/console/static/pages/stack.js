// A stack's queue: whose turn it is, who waits for what, and another order.

import { fill, h, withRunLinks } from "../core/dom.js";
import { accountWords, planWords } from "../core/names.js";
import { ACTIONS } from "../core/text.js";
import { ask } from "../parts/dialog.js";
import { listing } from "../parts/listing.js";
import { lookAgain } from "../parts/polling.js";
import { runTable } from "../parts/runs.js";
import { Place, badge, button, facts, section, stateBadge, table, when } from "../parts/ui.js";

const LOOK_MS = 4_000;

export async function showStack(context) {
  const { api, names, id, place, signal, titled, announce } = context;
  const queue = new Place();
  const trouble = h("div");
  let target = null;

  const look = async () => {
    const found = await api.get(`deploy-targets/${id}/queue`, {}, { signal });
    const [accounts, plans] = await Promise.all([
      names.accounts(found.runs.map((run) => run.cloud_account_id)), names.plans(found.runs.map((run) => run.plan_id))]);
    target = found.target;
    queue.show(found, () => queueTable(found, accounts, plans));
  };
  const may = context.token.scopes.includes("plan");
  const queueTable = (found, accounts, plans) => {
    const movable = found.runs.filter((run) => run.movable);
    return table({
      caption: "The queue", columns: ["Place", "Run", "State", "Plan", "Since", "Waits for", "Order"],
      rows: found.runs.map((run, at) => [
        String(at + 1),
        h("a", { href: `#/runs/${run.run_id}`, class: "strong" }, ACTIONS[run.action],
          h("span", { class: "quiet mono" }, ` …${run.run_id.slice(-6)}`)),
        [stateBadge({ ...run, cancel_requested: false }), run.holds_target ? [" ", badge("its turn", "busy")] : null],
        [h("a", { href: `#/plans/${run.plan_id}` }, planWords(plans, run.plan_id)),
          h("div", { class: "quiet" }, accountWords(accounts, run.cloud_account_id))],
        when(run.created_at), run.waits_for ? withRunLinks(run.waits_for) : "–",
        run.movable && movable[0].run_id !== run.run_id
          ? button("Let this one go first", () => first(run, movable), { kind: "small", disabled: !may, "data-run": run.run_id }) : "–",
      ]),
      empty: "Nobody waits for this stack.",
    });
  };
  const first = async (run, movable) => {
    const order = [run, ...movable.filter((each) => each.run_id !== run.run_id)].map((each) => each.run_id);
    await ask({
      title: "Let this one go first?",
      body: h("p", {}, `The ${run.action} …${run.run_id.slice(-6)} goes before the others that no worker has been given yet. `,
        "Who has its turn keeps it."),
      confirm: "Let it go first",
      act: () => api.post(`deploy-targets/${id}/queue/reorder`, { run_ids: order }),
    });
    await look();
    announce("The order is as it is shown.");
  };

  await look();
  const [accounts, plans] = await Promise.all([names.accounts(), names.plans()]);
  const past = await listing({
    load: (cursor) => api.get("runs", { target_id: id, cursor, limit: 20 }, { signal }),
    show: (items) => runTable(items, { accounts, plans, caption: "Runs of this stack", empty: "No run was about it." }),
    name: "run",
  });
  if (signal.aborted) return;
  fill(place, titled(`Stack ${target.stack_name}`), trouble,
    facts([
      ["AWS account", h("span", { class: "mono" }, target.account_id)], ["Region", target.region],
      ["Known since", when(target.created_at)],
    ]),
    section("Queue", h("p", { class: "quiet" }, "One at a time has its turn. A change that waits for approval is passed by previews and "
      + "drift checks, and by no other change."), queue.element),
    section("All runs of this stack", past));
  lookAgain(context, look, LOOK_MS, trouble);
}

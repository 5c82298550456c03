// Starting a plan: in which of its accounts and regions, and what its gates let pass this once.

import { h } from "../core/dom.js";
import { idempotencyKey } from "../core/api.js";
import { accountWords } from "../core/names.js";
import { ACTIONS } from "../core/text.js";
import { ask } from "./dialog.js";
import { field, notice } from "./ui.js";

const WORDS = {
  preview: "A change set is made, shown, and deleted again. Nothing is changed.",
  apply: "A preview is made. Nothing is changed until somebody has approved exactly that.",
  drift: "Each resource is compared with the template. Nothing is changed.",
  destroy: "A list of what would be deleted is made, and waits for approval. Then the stack is deleted.",
};

const UNASKED = {
  apply: "A preview is made, and what it finds is done at once.",
  destroy: "The stack is deleted at once, with all that no policy keeps.",
};

/** Asks, starts the run, and goes to it. `action` is null for an audit. */
export async function askToStart({ api }, { plan, accounts, action }) {
  const { spec } = plan;
  const which = picks("Cloud accounts", plan.cloud_account_ids.map((id) => [id, accountWords(accounts, id)]));
  const where = picks("Regions", action === null ? [] : spec.regions.map((region) => [region, region]));
  const allow = h("input", { id: "allow", type: "text", autocomplete: "off", spellcheck: "false" });
  const gated = (action === "apply" || action === "preview") && spec.gates.length > 0;
  const unasked = action !== null && spec.approval.auto && (action === "apply" || action === "destroy");
  const key = idempotencyKey(); // the same for each try of this dialog: a second click starts nothing new
  const started = await ask({
    title: action === null ? `Run ${plan.name} now?` : `${ACTIONS[action]} ${spec.stack_name}?`,
    body: [
      unasked ? notice("bad", "Nobody will be asked", h("p", {}, `This plan needs no approval. ${UNASKED[action]}`))
        : h("p", {}, WORDS[action] ?? "It reads the accounts with the rules of the plan, and changes nothing."),
      which.element, where.element,
      gated ? field("Let pass this once", allow, "Logical ids of resources that the plan's gates would refuse, with spaces "
        + "between. Leave it empty to let nothing pass.") : null,
    ],
    confirm: action === null ? "Run now" : ACTIONS[action],
    kind: action === "destroy" || unasked ? "danger" : "primary",
    typed: action === "destroy" || unasked ? spec.stack_name : null,
    act: () => api.post(`plans/${plan.id}/runs`, {
      ...(action === null ? {} : { action }),
      ...(which.chosen() ? { cloud_account_ids: which.chosen() } : {}),
      ...(where.chosen() ? { regions: where.chosen() } : {}),
      ...(gated && allow.value.trim() ? { allow: allow.value.trim().split(/[\s,]+/) } : {}),
    }, { "Idempotency-Key": key }),
  });
  if (!started) return;
  location.hash = started.runs.length === 1 ? `#/runs/${started.runs[0].id}` : `#/runs?group_id=${started.group_id}`;
}

/** Boxes to choose some; with one only there is nothing to choose. `chosen()` is null for all. */
function picks(label, options) {
  if (options.length < 2) return { element: null, chosen: () => null };
  const boxes = options.map(([value]) => h("input", { type: "checkbox", id: `pick-${value}`, value, checked: true }));
  const element = h("fieldset", {}, h("legend", {}, label), options.map(([value, words], at) =>
    h("div", { class: "check" }, boxes[at], h("label", { for: `pick-${value}` }, words))));
  const chosen = () => {
    const ticked = boxes.filter((box) => box.checked);
    return ticked.length === boxes.length ? null : ticked.map((box) => box.value);
  };
  return { element, chosen };
}

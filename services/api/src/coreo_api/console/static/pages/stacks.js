// The stacks that runs were about, those with runs at work first in view.

import { fill, h } from "../core/dom.js";
import { plural } from "../core/text.js";
import { listing } from "../parts/listing.js";
import { badge, choice, field, table, when } from "../parts/ui.js";

export async function showStacks({ api, query, place, signal, titled }) {
  const busy = query.get("busy") ?? "";
  const options = [["", "All"], ["true", "With runs that have not ended"]];
  const to = (event) => { location.hash = `#/stacks?busy=${event.target.value}`; };
  const filters = h("div", { class: "filters", role: "search", "aria-label": "Stacks" },
    field("Which", choice("busy", options, busy, to)));
  const list = await listing({
    load: (cursor) => api.get("deploy-targets", { busy, cursor, limit: 50 }, { signal }),
    show: (stacks) => table({
      caption: "Stacks",
      columns: ["Stack", "AWS account", "Region", "Queue", "Known since"],
      rows: stacks.map((stack) => [
        h("a", { href: `#/stacks/${stack.id}`, class: "strong" }, stack.stack_name),
        h("span", { class: "mono" }, stack.account_id),
        stack.region,
        stack.runs > 0 ? badge(plural(stack.runs, "run"), stack.held_by ? "busy" : "wait")
          : h("span", { class: "quiet" }, "nobody"),
        when(stack.created_at),
      ]),
      empty: "No deploy has run yet.",
    }),
    name: "stack",
  });
  fill(place, titled("Stacks"), filters, h("section", { class: "card" }, list));
}

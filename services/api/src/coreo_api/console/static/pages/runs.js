// All runs, with filters that stand in the address.

import { fill, h } from "../core/dom.js";
import { AT_WORK, FINAL, FOR_PEOPLE, STATES } from "../core/text.js";
import { listing } from "../parts/listing.js";
import { runTable } from "../parts/runs.js";
import { choice, field } from "../parts/ui.js";

const GROUPS = { people: ["Waiting for somebody", FOR_PEOPLE], work: ["At work", AT_WORK], over: ["Ended", [...FINAL]] };

export async function showRuns({ api, names, query, place, signal, titled }) {
  const [accounts, plans] = await Promise.all([names.accounts(), names.plans()]);
  const value = (name) => query.get(name) ?? "";
  const to = (name) => (event) => {
    const next = new URLSearchParams(query);
    if (event.target.value) next.set(name, event.target.value);
    else next.delete(name);
    location.hash = `#/runs?${next}`;
  };
  const named = (map) => [["", "All"], ...[...map.values()].map((each) => [each.id, each.name])];
  const states = [["", "All"], ...Object.entries({ ...GROUPS, ...STATES }).map(([id, [label]]) => [id, label])];
  const filters = h("div", { class: "filters", role: "search", "aria-label": "Runs" },
    field("State", choice("state", states, value("state"), to("state"))),
    field("Plan", choice("plan", named(plans), value("plan_id"), to("plan_id"))),
    field("Cloud account", choice("account", named(accounts), value("cloud_account_id"), to("cloud_account_id"))));
  const wanted = {
    state: GROUPS[value("state")]?.[1] ?? value("state"),
    plan_id: value("plan_id"),
    cloud_account_id: value("cloud_account_id"),
    group_id: value("group_id"),
    target_id: value("target_id"),
  };
  const list = await listing({
    load: (cursor) => api.get("runs", { ...wanted, cursor, limit: 50 }, { signal }),
    show: (items) => runTable(items, { accounts, plans, caption: "Runs", empty: "There are no such runs." }),
    name: "run",
  });
  fill(place, titled(value("group_id") ? "Runs started together" : "Runs"), filters, h("section", { class: "card" }, list));
}

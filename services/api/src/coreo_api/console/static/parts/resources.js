// What CloudFormation does: each resource with what was last said of it, and all that was said.

import { h } from "../core/dom.js";
import { plural } from "../core/text.js";
import { atClock, badge, table, typeName } from "./ui.js";

const MAX_SHOWN = 500;
const STACK = "AWS::CloudFormation::Stack";

function eventKind(status) {
  if (status.endsWith("_FAILED")) return "bad";
  if (status.includes("ROLLBACK")) return "wait";
  if (status.endsWith("_COMPLETE")) return "good";
  return status === "waits" ? "quiet" : "busy";
}

function nameOf(event) {
  return event.stack_name ? `${event.stack_name}/${event.logical_id}` : event.logical_id;
}

/** Resources of the preview and of stack events, each with its newest event; those of which nothing was said wait. */
export class Resources {
  #rows = new Map();
  #stackName;
  events = [];

  constructor(stackName) {
    this.#stackName = stackName;
  }

  expect(changes) {
    for (const change of changes) {
      if (change.action === "Retain" || this.#rows.has(change.logical_id)) continue;
      this.#rows.set(change.logical_id, { type: change.type, status: "waits", reason: null, at: null });
    }
  }

  hear(event) {
    this.events.push(event);
    if (event.type === STACK && event.logical_id === this.#stackName && !event.stack_name) return;
    this.#rows.set(nameOf(event), { type: event.type, status: event.status, reason: event.reason, at: event.at });
  }

  resourceTable() {
    return table({
      caption: "Resources",
      columns: ["State", "Resource", "Type", "Since", "AWS says"],
      rows: [...this.#rows].map(([name, row]) => [
        badge(row.status, eventKind(row.status)), h("strong", {}, name), typeName(row.type),
        row.at ? atClock(row.at) : "–", row.reason ?? "",
      ]),
      empty: "CloudFormation has said nothing yet.",
    });
  }

  eventTable() {
    const shown = this.events.slice(-MAX_SHOWN).reverse();
    return [
      this.events.length > MAX_SHOWN
        ? h("p", { class: "quiet" }, `The last ${MAX_SHOWN} of ${plural(this.events.length, "event")}; coreo deploy events has all.`)
        : null,
      table({
        caption: "Stack events, newest first",
        columns: ["At", "Status", "Resource", "Type", "AWS says"],
        rows: shown.map((event) => [
          atClock(event.at), badge(event.status, eventKind(event.status)), nameOf(event),
          typeName(event.type), event.reason ?? "",
        ]),
      }),
    ];
  }
}

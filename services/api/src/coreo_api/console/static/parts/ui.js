// The pieces that pages are made of.

import { h, fill, withRunLinks } from "../core/dom.js";
import { STATES, STATUSES, ago, clock, moment } from "../core/text.js";

export function badge(word, kind) {
  return h("span", { class: `badge ${kind}` }, word);
}

export function stateBadge(run) {
  const [word, kind] = STATES[run.state] ?? [run.state, "quiet"];
  const canceling = run.cancel_requested && !run.ended_at && run.state !== "OUTCOME_UNKNOWN";
  if (run.deploy?.no_change && run.state === "SUCCEEDED") return badge("no change", "good");
  return badge(canceling ? "canceling" : word, kind);
}

export function statusBadge(status) {
  return badge(...(STATUSES[status] ?? [status, "quiet"]));
}

/** Loud only for what failed. */
export function severityBadge(severity, status = "FAIL") {
  return badge(severity, `severity ${status === "FAIL" ? severity : "info"}`);
}

/** A time as people say it; the exact one is its title. */
export function when(iso) {
  return iso ? h("time", { class: "ago", datetime: iso, title: moment(iso) }, ago(iso)) : "–";
}

/** Says all such times anew: they go on while a page stands. */
export function tick() {
  for (const time of document.querySelectorAll("time.ago")) time.textContent = ago(time.dateTime);
}

export function atClock(iso) {
  return h("time", { datetime: iso, title: moment(iso), class: "mono" }, clock(iso));
}

export function code(text) {
  return h("code", {}, text);
}

/** A resource's type, which breaks between its parts alone. */
export function typeName(type) {
  const parts = type.split("::").flatMap((part, at) => at === 0 ? part : ["::", h("wbr"), part]);
  return h("span", { class: "type mono small" }, parts);
}

/** A list of sentences. */
export function items(texts) {
  return h("ul", {}, texts.map((each) => h("li", {}, each)));
}

/** Pairs of a label and what it says; a value that is null is left out. */
export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("dl", { class: "facts" }, shown.map(([label, value]) => h("div", {}, h("dt", {}, label), h("dd", {}, value))));
}

/**
 * A table that reads as cards where there is little room; its roles are said, as that takes them from the elements.
 * `rows` are lists of cells, or {cells, class}.
 */
export function table({ caption, columns, rows, empty = "There is nothing here.", captionHidden = true }) {
  if (rows.length === 0) return h("p", { class: "empty" }, empty);
  const head = h("tr", { role: "row" }, columns.map((label) => h("th", { scope: "col", role: "columnheader" }, label)));
  const body = rows.map((row) => {
    const cells = row.cells ?? row;
    return h("tr", { role: "row", class: row.class }, cells.map((cell, at) =>
      h("td", { role: "cell", "data-label": columns[at] }, h("div", {}, cell))));
  });
  return h("table", { role: "table" },
    h("caption", { class: captionHidden ? "unseen" : null }, caption),
    h("thead", { role: "rowgroup" }, head), h("tbody", { role: "rowgroup" }, body));
}

/** Something that must be seen. `kind`: info, good, wait, bad, alarm. */
export function notice(kind, title, ...children) {
  return h("div", { class: `notice ${kind}`, role: kind === "bad" || kind === "alarm" ? "alert" : "status" },
    title ? h("p", { class: "notice-title" }, title) : null, children);
}

/** What the api says against something: what is wrong, in which field, and under which id it was noted. */
export function problemNotice(problem, title = "That did not work") {
  const fields = (problem.errors ?? []).filter((each) => each.message !== problem.message);
  return notice("bad", title,
    h("p", {}, withRunLinks(problem.message)),
    fields.length > 0 ? h("ul", {}, fields.map((each) => h("li", {}, code(each.field), ` ${each.message}`))) : null,
    problem.requestId && problem.status >= 500 ? h("p", { class: "quiet" }, `Request ${problem.requestId}`) : null);
}

export function button(label, listener, { kind = "", ...attributes } = {}) {
  return h("button", { type: "button", class: `button ${kind}`, ...attributes, on: { click: listener } }, label);
}

/** A button that puts text on the clipboard. */
export function copyButton(text, what = "command") {
  const said = h("span", { class: "unseen", role: "status" });
  const copy = button("Copy", async () => {
    try {
      await navigator.clipboard.writeText(text);
      copy.textContent = "Copied";
      said.textContent = `The ${what} is copied.`;
    } catch {
      copy.textContent = "Select it by hand"; // the browser keeps its clipboard to itself, as without https
    }
    setTimeout(() => { copy.textContent = "Copy"; }, 2000);
  }, { kind: "small", "aria-label": `Copy the ${what}` });
  return [copy, said];
}

/** A command on its own line, with its button. */
export function command(text) {
  return h("div", { class: "command" }, h("pre", { tabindex: "0" }, h("code", {}, text)), h("div", {}, copyButton(text)));
}

export function section(title, ...children) {
  return h("section", { class: "card" }, h("h2", {}, title), children);
}

/** A place whose children are made anew only when `key` is another. */
export class Place {
  #key;

  constructor(tag = "div", attributes = {}) {
    this.element = h(tag, attributes);
  }

  show(key, make) {
    const text = JSON.stringify(key);
    if (text === this.#key) return;
    this.#key = text;
    fill(this.element, make());
  }

  clear() {
    this.#key = undefined;
    this.element.replaceChildren();
  }
}

/** A field with its label. */
export function field(label, control, help) {
  const describedBy = help ? `${control.id}-help` : null;
  if (describedBy) control.setAttribute("aria-describedby", describedBy);
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control,
    help ? h("p", { id: describedBy, class: "quiet help" }, help) : null);
}

/** A choice; `options` are [value, label]. */
export function choice(id, options, value, listener) {
  return h("select", { id, on: { change: listener } },
    options.map(([each, label]) => h("option", { value: each, selected: each === value }, label)));
}

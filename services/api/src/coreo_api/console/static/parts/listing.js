// A list in pages: the next one comes below those that are shown.

import { h, fill } from "../core/dom.js";
import { Problem } from "../core/api.js";
import { plural } from "../core/text.js";
import { button, problemNotice } from "./ui.js";

/**
 * `load(cursor)` gives a page {items, next_cursor, total?}; `show(items)` what is shown of all items so far. Gives the
 * element once the first page is there. Throws the Problem of the first page.
 */
export async function listing({ load, show, name }) {
  const items = [];
  const shown = h("div");
  const said = h("p", { class: "quiet count", role: "status" });
  const below = h("div", { class: "more" });

  const next = async (cursor) => {
    const page = await load(cursor);
    items.push(...page.items);
    fill(shown, show(items));
    const all = page.total ?? null;
    const more = page.next_cursor !== null;
    fill(said, items.length === 0 ? "" : all !== null && all !== items.length
      ? `${items.length.toLocaleString("en")} of ${plural(all, name)}`
      : `${plural(items.length, name)}${more && all === null ? ", and there are more" : ""}`);
    fill(below, more ? button("Show more", () => attempt(page.next_cursor)) : null);
  };
  const attempt = async (cursor) => {
    try {
      await next(cursor);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      fill(below, problemNotice(error), button("Try again", () => attempt(cursor)));
    }
  };
  await next(null);
  return h("div", {}, shown, said, below);
}

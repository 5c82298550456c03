// What is going on now: what waits for people first, then what is at work, then what ended last.

import { fill, h } from "../core/dom.js";
import { AT_WORK, FINAL, FOR_PEOPLE, plural } from "../core/text.js";
import { Problem } from "../core/api.js";
import { runTable } from "../parts/runs.js";
import { Place, notice, section } from "../parts/ui.js";

const LOOK_MS = 5_000;

export async function showNow(context) {
  const { api, place, signal, titled, announce } = context;
  const trouble = h("div");
  const waiting = new Place();
  const working = new Place();
  const ended = new Place();
  let waited = null;

  const look = async () => {
    const lists = await Promise.all([FOR_PEOPLE, AT_WORK, [...FINAL]].map((state, at) =>
      api.get("runs", { state, limit: at === 2 ? 10 : 100 }, { signal })));
    const runs = lists.flatMap((list) => list.items);
    const [accounts, plans] = await Promise.all([
      context.names.accounts(runs.map((run) => run.cloud_account_id)), context.names.plans(runs.map((run) => run.plan_id))]);
    const [people, work, over] = lists.map((list) => list.items);
    const shown = (items, caption, empty) => () => runTable(items, { accounts, plans, caption, empty });
    waiting.show(people, shown(people, "Runs that wait for somebody", "Nothing waits for anybody."));
    working.show(work, shown(work, "Runs at work", "Nothing is at work."));
    ended.show(over, shown(over, "Runs that ended last", "Nothing has run yet."));
    if (waited !== null && people.length > waited) announce(`${plural(people.length, "run")} wait for somebody.`);
    waited = people.length;
  };

  await look();
  if (signal.aborted) return;
  fill(place, titled("Now"), trouble,
    section("Waits for somebody", waiting.element), section("At work", working.element), section("Ended last", ended.element));
  const timer = setInterval(async () => {
    if (document.hidden) return;
    try {
      await look();
      fill(trouble);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Problem)) throw error;
      if (error.status === 401) context.again();
      else fill(trouble, notice("wait", "This is not the newest", h("p", {}, error.message)));
    }
  }, LOOK_MS);
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
}

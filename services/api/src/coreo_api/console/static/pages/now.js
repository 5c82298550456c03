// What is going on now: what waits for people first, then what is at work, then what ended last.

import { fill, h } from "../core/dom.js";
import { AT_WORK, FINAL, FOR_PEOPLE, plural } from "../core/text.js";
import { lookAgain } from "../parts/polling.js";
import { runTable } from "../parts/runs.js";
import { Place, section } from "../parts/ui.js";

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
    const show = (at, place, state, caption, empty) => place.show(lists[at], () => [
      runTable(lists[at].items, { accounts, plans, caption, empty }),
      lists[at].next_cursor === null ? null : h("p", {}, h("a", { href: `#/runs?state=${state}` }, "There are more")),
    ]);
    show(0, waiting, "people", "Runs that wait for somebody", "Nothing waits for anybody.");
    show(1, working, "work", "Runs at work", "Nothing is at work.");
    show(2, ended, "over", "Runs that ended last", "Nothing has run yet.");
    const people = lists[0].items.length;
    if (waited !== null && people > waited) announce(`${plural(people, "run")} ${people === 1 ? "waits" : "wait"} for somebody.`);
    waited = people;
  };

  await look();
  if (signal.aborted) return;
  fill(place, titled("Now"), trouble,
    section("Waits for somebody", waiting.element), section("At work", working.element), section("Ended last", ended.element));
  lookAgain(context, look, LOOK_MS, trouble);
}

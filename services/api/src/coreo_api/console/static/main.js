// The console: who is signed in, which page is shown, and what is around it.

import { Api, Problem } from "./core/api.js";
import { fill, h } from "./core/dom.js";
import { Names } from "./core/names.js";
import { forget, remembered } from "./core/session.js";
import { closeDialogs } from "./parts/dialog.js";
import { button, notice, problemNotice, tick } from "./parts/ui.js";
import { showFindings } from "./pages/findings.js";
import { showNow } from "./pages/now.js";
import { showPlan } from "./pages/plan.js";
import { showPlans } from "./pages/plans.js";
import { showRun } from "./pages/run.js";
import { showRuns } from "./pages/runs.js";
import { showSignIn } from "./pages/signin.js";
import { showStack } from "./pages/stack.js";
import { showStacks } from "./pages/stacks.js";

// Path -> the page, with what stands in its braces. A page fills `place` and says its title; see `open`.
const PAGES = [
  [/^\/?$/, showNow, "now"],
  [/^\/plans$/, showPlans, "plans"],
  [/^\/plans\/(?<id>[0-9a-f-]{36})$/, showPlan, "plans"],
  [/^\/runs$/, showRuns, "runs"],
  [/^\/runs\/(?<id>[0-9a-f-]{36})$/, showRun, "runs"],
  [/^\/runs\/(?<id>[0-9a-f-]{36})\/findings$/, showFindings, "runs"],
  [/^\/stacks$/, showStacks, "stacks"],
  [/^\/stacks\/(?<id>[0-9a-f-]{36})$/, showStack, "stacks"],
];
const LINKS = [
  ["now", "#/", "Now"], ["plans", "#/plans", "Plans"], ["runs", "#/runs", "Runs"], ["stacks", "#/stacks", "Stacks"],
];
const MISTAKE = "The console made a mistake. Load the page anew; the command line does the same.";

const main = document.getElementById("main");
const live = document.getElementById("live");
let leaving = new AbortController();
let shown = null; // the path of the page that is there
let session = null; // {api, names, token, team} of who is signed in

async function open() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  closeDialogs();
  live.textContent = "";
  if (session === null && !(await signIn(signal))) return;
  if (signal.aborted) return;
  const [path, search = ""] = location.hash.slice(1).split("?");
  const used = path === shown ? document.activeElement?.id : null; // another filter: whoever chose it stays there
  shown = path;
  const found = PAGES.map(([pattern, page, at]) => ({ match: pattern.exec(path), page, at })).find(({ match }) => match);
  frame(found?.at);
  if (!found) {
    document.title = "No such page - Coreo";
    fill(main, h("h1", { tabindex: "-1" }, "No such page"), toNow());
    return;
  }
  const place = h("div", { "aria-busy": "true" }, h("p", { class: "empty" }, "Loading …"));
  fill(main, place);
  window.scrollTo(0, 0);
  const context = {
    ...session,
    ...found.match.groups,
    query: new URLSearchParams(search),
    place,
    signal,
    titled,
    announce: (words) => { live.textContent = words; },
    again: () => open(),
  };
  try {
    await found.page(context);
  } catch (error) {
    if (signal.aborted) return;
    failed(error, place);
  } finally {
    place.removeAttribute("aria-busy");
  }
  if (signal.aborted) return;
  const kept = used ? document.getElementById(used) : null;
  (kept ?? main.querySelector("h1"))?.focus({ preventScroll: true });
}

/** The page's heading, which is the window's title too. */
function titled(title, ...beside) {
  document.title = `${title} - Coreo`;
  return h("div", { class: "heading" }, h("h1", { tabindex: "-1" }, title), beside);
}

/** Shows in place of a page why there is none. What is no Problem is a mistake of the console's own. */
function failed(error, place) {
  if (error instanceof Problem && error.status === 401) {
    out("This token is no longer valid: it was revoked, or has expired.");
    return;
  }
  if (!(error instanceof Problem)) console.error(error);
  const problem = error instanceof Problem ? error : new Problem(0, "console", MISTAKE);
  if (problem.status === 404) fill(place, titled("Not found"), h("p", {}, problem.message), toNow());
  else fill(place, titled("Not to be shown just now"), problemNotice(problem, "Why"), button("Try again", open));
}

function toNow() {
  return h("p", {}, h("a", { href: "#/" }, "To what is going on now"));
}

/** Whether somebody is signed in; else the page where they can. */
async function signIn(signal, said = null) {
  const token = remembered();
  let trouble = said === null ? null : notice("wait", said);
  if (token !== null && said === null) {
    try {
      await enter(token);
      return !signal.aborted;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (error.status === 401) forget();
      trouble = problemNotice(error, "Not signed in");
    }
  }
  if (signal.aborted) return false;
  frame(null);
  showSignIn({ main, titled, trouble, enter, done: open });
  return false;
}

/** Signs in. Raises Problem for a token that is none, or may see nothing. */
async function enter(value) {
  const api = new Api(value);
  const [token, team] = await Promise.all([api.get("token"), api.get("team")]);
  session = { api, names: new Names(api), token, team };
}

function out(said) {
  forget();
  session = null;
  leaving.abort();
  leaving = new AbortController();
  closeDialogs();
  signIn(leaving.signal, said);
}

/** What is around the page: where one is, and who one is. */
function frame(at) {
  const top = document.getElementById("top");
  const brand = h("a", { href: "#/", class: "brand" }, "Coreo");
  if (session === null) {
    fill(top, h("div", { class: "bar" }, brand));
    return;
  }
  const links = LINKS.map(([name, href, label]) => h("a", { href, "aria-current": name === at ? "page" : null }, label));
  const who = h("div", { class: "who" },
    h("span", {}, h("strong", {}, session.team.name), h("span", { class: "quiet" }, ` as ${session.token.name}`)),
    h("span", { class: "quiet scopes", title: "What this token may do" }, session.token.scopes.join(", ")),
    button("Sign out", () => out("You are signed out."), { kind: "small" }));
  fill(top, h("div", { class: "bar" }, brand, h("nav", { "aria-label": "Pages" }, links), who));
}

/** A mistake of the console's own, outside of a page's loading. What was called off by leaving a page is none. */
function mistaken(event) {
  if (event.reason?.name === "AbortError") {
    event.preventDefault();
    return;
  }
  const said = event.reason instanceof Problem ? event.reason : new Problem(0, "console", MISTAKE);
  const box = h("div", { class: "toast" }, problemNotice(said), button("Close", () => box.remove(), { kind: "small" }));
  document.body.append(box);
}

addEventListener("unhandledrejection", mistaken);
addEventListener("hashchange", open);
setInterval(tick, 10_000);
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
open();

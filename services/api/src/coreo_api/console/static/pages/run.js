// A run, as it goes: what it is, what it would change, who decides, what becomes of it.

import { Problem } from "../core/api.js";
import { fill, h, withRunLinks } from "../core/dom.js";
import { follow } from "../core/events.js";
import { accountWords, planWords } from "../core/names.js";
import { FINAL, STATES, plural, runTitle } from "../core/text.js";
import { approvalPanel, decisionsPart, loadDecisions } from "../parts/approval.js";
import { showPreview } from "../parts/changes.js";
import { ask } from "../parts/dialog.js";
import { driftPart, failurePart, outputsTable } from "../parts/documents.js";
import { outcomePart } from "../parts/outcome.js";
import { Resources } from "../parts/resources.js";
import { progress, steps } from "../parts/steps.js";
import { Place, button, facts, notice, problemNotice, section, stateBadge, when } from "../parts/ui.js";
import { countTags } from "./findings.js";

const LOOK_MS = 5_000; // whose turn it is changes without a word of the run's own
const SOON_MS = 40; // events that come together are shown together
const DOCUMENTS = { preview: "What it would change", outputs: "Outputs", drift: "Drift", failure: "Why it failed" };
const PLACES = [
  "trouble", "head", "gone", "outcome", "approval", "failure", "progress", "waits", "outputs", "drift", "findings", "resources",
  "preview", "decisions",
];

export async function showRun(context) {
  const { api, id, signal } = context;
  const run = await api.get(`runs/${id}`, {}, { signal });
  const [accounts, plans] = await Promise.all([
    context.names.accounts([run.cloud_account_id]), context.names.plans([run.plan_id])]);
  if (signal.aborted) return;
  const page = new RunPage(context, run, accounts, plans);
  await page.show();
  page.follow();
}

class RunPage {
  #places = Object.fromEntries(PLACES.map((name) => [name, new Place()]));
  #documents = new Map(); // name -> {mark, value or problem}
  #announced = null;
  #decisionsOf = null; // what had been decided when the log was read
  #timer = null;
  #anew = false;

  constructor(context, run, accounts, plans) {
    Object.assign(this, { context, run, accounts, plans });
    this.resources = new Resources(run.deploy?.stack_name);
    this.title = runTitle(run, plans.get(run.plan_id)?.name);
    context.decided = (answer) => this.#decided(answer);
    context.previewChanged = () => this.#previewChanged();
  }

  async show() {
    await this.#load();
    if (this.context.signal.aborted) return;
    fill(this.context.place, PLACES.map((name) => this.#places[name].element));
  }

  async follow() {
    const { api, id, signal } = this.context;
    const hear = (name, value) => {
      if (name === "stack") this.resources.hear(value);
      if (name === "run") this.run = value;
      this.#timer ??= setTimeout(() => { this.#timer = null; this.#refresh(); }, SOON_MS);
    };
    const trouble = (problem) => this.#places.trouble.show(problem?.message ?? null, () => problem === null ? []
      : notice("wait", "This is not the newest", h("p", {}, problem.message, " The run goes on; trying again …")));
    const timer = setInterval(() => { if (!document.hidden) this.#renderWaits(); }, LOOK_MS);
    signal.addEventListener("abort", () => clearInterval(timer), { once: true });
    try {
      await follow(api, id, { signal, hear, trouble });
    } catch (error) {
      this.#failed(error);
    }
  }

  async #refresh() {
    try {
      await this.#load();
    } catch (error) {
      this.#failed(error);
    }
  }

  /** What cannot be read is said above what is there; who is no longer signed in signs in. */
  #failed(error) {
    if (this.context.signal.aborted) return;
    if (!(error instanceof Problem)) throw error;
    if (error.status === 401) this.context.again();
    else this.#places.trouble.show(error.message, () => problemNotice(error, "This is not the newest"));
  }

  /** Shows the run as it is known now, with the documents that are new. */
  async #load() {
    const { run, context } = this;
    const wanted = Object.keys(DOCUMENTS).filter((name) => run.deploy?.documents[name] && !run.results_gone);
    await Promise.all(wanted.map((name) => this.#read(name, run.deploy.documents[name])));
    if (context.signal.aborted) return;
    if (run === this.run) await this.#render();
    else await this.#load();
  }

  async #read(name, mark) {
    const known = this.#documents.get(name);
    if (known?.mark === mark && !known.problem) return;
    try {
      const value = await this.context.api.get(`runs/${this.run.id}/${name}`, {}, { signal: this.context.signal });
      if (name === "preview" && known?.value && known.value.hash !== value.hash) this.#anew = true;
      this.#documents.set(name, { mark, value });
    } catch (problem) {
      if (!(problem instanceof Problem)) {
        if (this.context.signal.aborted) return;
        throw problem;
      }
      this.#documents.set(name, { mark, value: known?.value, problem });
    }
  }

  async #render() {
    const { run, context } = this;
    const tokens = run.deploy?.approval || run.deploy?.approved_by.length
      ? await context.names.tokens([...(run.deploy.approval?.approved_by ?? []), ...run.deploy.approved_by]) : new Map();
    const places = this.#places;
    const head = [run.state, run.reason, run.cancel_requested, run.deploy?.cancel_refused, run.deploy?.no_change];
    places.head.show(head, () => this.#head());
    places.gone.show(run.results_gone, () => run.results_gone && goneNotice(run.results_gone));
    const preview = this.#documents.get("preview")?.value ?? null;
    const waits = run.state === "AWAITING_APPROVAL" && run.deploy?.approval;
    places.approval.show(waits ? [run.deploy.approval, preview?.hash, this.#anew] : null, () =>
      waits ? approvalPanel(context, { run, preview, tokens, anew: this.#anew }) : []);
    places.progress.show([run.state, run.units_done, run.units_total, run.attempt, run.updated_at, run.deploy], () =>
      h("section", { class: "card", "aria-label": "Progress" }, steps(run), progress(run), runFacts(this)));
    this.#renderResources(preview);
    for (const name of Object.keys(DOCUMENTS)) this.#renderDocument(name);
    const isFindings = run.kind === "audit" || run.deploy?.action === "drift";
    places.findings.show(isFindings ? [run.counts, run.state] : null, () => isFindings ? findingsPart(run) : []);
    await Promise.all([this.#renderOutcome(), this.#renderWaits(), this.#renderDecisions()]);
    this.#announce();
  }

  #head() {
    const { run, context } = this;
    const mayPlan = context.token.scopes.includes("plan");
    const over = FINAL.has(run.state);
    const links = [
      run.deploy ? h("a", { href: `#/stacks/${run.deploy.target_id}`, class: "button" }, "Queue of the stack") : null,
      over || run.state === "OUTCOME_UNKNOWN" || run.cancel_requested ? null
        : button("Cancel …", () => askToCancel(context, this.run), { id: "cancel", disabled: !mayPlan }),
    ];
    return [
      h("p", { class: "crumbs" }, h("a", { href: "#/plans" }, "Plans"), " / ",
        h("a", { href: `#/plans/${run.plan_id}` }, planWords(this.plans, run.plan_id)), " / ",
        h("span", { class: "mono" }, run.id)),
      this.context.titled(this.title, stateBadge(run), h("div", { class: "buttons" }, links)),
      run.reason && run.state !== "AWAITING_APPROVAL" ? h("p", { class: "lead" }, withRunLinks(run.reason)) : null,
      run.deploy?.cancel_refused && !over
        ? notice("wait", "It cannot be canceled now", h("p", {}, run.deploy.cancel_refused)) : null,
    ];
  }

  #renderResources(preview) {
    const { run, resources } = this;
    const events = resources.events.length;
    const changing = ["APPLYING", "OUTCOME_UNKNOWN"].includes(run.state) || events > 0;
    if (changing && preview) resources.expect(preview.changes);
    const place = this.#places.resources;
    const isOpen = place.element.querySelector("details")?.open ?? false;
    const all = () => h("details", { open: isOpen }, h("summary", {}, `All ${plural(events, "stack event")}`), resources.eventTable());
    place.show(changing ? [events, preview?.hash] : null, () => !changing ? []
      : section("Resources", resources.resourceTable(), events > 0 ? all() : null));
  }

  #renderDocument(name) {
    const found = this.#documents.get(name);
    const shows = { preview: showPreview, outputs: outputsTable, drift: driftPart, failure: failurePart };
    const { state } = this.run;
    const later = name === "preview" && state !== "AWAITING_APPROVAL" && this.run.deploy?.action !== "preview";
    // Of an unknown outcome the failure is told as advice, with what to check.
    const hidden = !found || (name === "failure" && state === "OUTCOME_UNKNOWN");
    this.#places[name].show(hidden ? null : [found.value ?? null, found.problem?.message, later], () => {
      if (hidden) return [];
      const body = [
        found.problem ? problemNotice(found.problem, "This cannot be read just now") : null,
        found.value ? shows[name](found.value) : null,
      ];
      const title = later ? "The preview" : DOCUMENTS[name];
      const wasOpen = this.#places.preview.element.querySelector("section > details")?.open ?? false;
      return section(title, later ? h("details", { open: wasOpen }, h("summary", {}, "What it was to change"), body) : body);
    });
  }

  async #renderOutcome() {
    const { run, context } = this;
    const place = this.#places.outcome;
    if (run.state !== "OUTCOME_UNKNOWN") {
      place.show(null, () => []);
      return;
    }
    try {
      const page = await context.api.get(`runs/${run.id}/outcome`, {}, { signal: context.signal });
      if (run !== this.run) return;
      place.show(page, () => outcomePart(context, page));
    } catch (problem) {
      if (context.signal.aborted || run !== this.run) return;
      if (!(problem instanceof Problem)) throw problem;
      place.show(problem.message, () => problemNotice(problem, "What to check cannot be read just now"));
    }
  }

  /** Why a queued run does not go on: whose turn it is. */
  async #renderWaits() {
    const { run, context } = this;
    const place = this.#places.waits;
    if (run.state !== "QUEUED" || !run.deploy || run.deploy.holds_target) {
      place.show(null, () => []);
      return;
    }
    try {
      const queue = await context.api.get(`deploy-targets/${run.deploy.target_id}/queue`, {}, { signal: context.signal });
      if (run !== this.run) return;
      const words = queue.runs.find((each) => each.run_id === run.id)?.waits_for ?? null;
      place.show(words, () => words === null ? [] : notice("info", "Waits for its turn", h("p", {}, withRunLinks(words), " ",
        h("a", { href: `#/stacks/${run.deploy.target_id}` }, "The queue of the stack"))));
    } catch (problem) {
      if (!(problem instanceof Problem) && !context.signal.aborted) throw problem;
      place.show(null, () => []); // it is said beside the run, which is shown all the same
    }
  }

  async #renderDecisions() {
    const { run, context } = this;
    if (!["apply", "destroy"].includes(run.deploy?.action)) return;
    const mark = JSON.stringify([run.state, run.deploy.approval?.approved_by, run.deploy.approved_by]);
    if (mark === this.#decisionsOf) return;
    try {
      const decisions = await loadDecisions(context.api, run);
      if (run !== this.run) return;
      this.#decisionsOf = mark;
      this.#places.decisions.show(decisions, () => decisionsPart(decisions));
    } catch (problem) {
      if (context.signal.aborted) return;
      if (!(problem instanceof Problem)) throw problem;
      const title = "The log of decisions cannot be read just now";
      this.#places.decisions.show(problem.message, () => section("Who decided", problemNotice(problem, title)));
    }
  }

  /** Said to who cannot see the page: a new state, and each tenth of the way. */
  #announce() {
    const { run } = this;
    const tenth = run.units_total ? Math.floor((10 * run.units_done) / run.units_total) : 0;
    const mark = `${run.state} ${tenth}`;
    if (this.#announced !== null && mark !== this.#announced) {
      const bar = run.units_total ? `, ${run.units_done} of ${run.units_total} done` : "";
      this.context.announce(`${this.title}: ${STATES[run.state]?.[0] ?? run.state}${bar}.`);
    }
    this.#announced = mark;
  }

  /** After somebody decided: the stream tells the rest, and what is shown meanwhile is what was answered. */
  #decided(answer) {
    this.context.announce(`Done. The run is ${STATES[answer.state]?.[0] ?? answer.state}.`);
    return answer;
  }

  /** An approval came too late: the preview that was shown is no more the one that waits. */
  async #previewChanged() {
    this.#documents.delete("preview");
    this.#anew = true;
    await this.#refresh();
    this.context.announce("Nothing was approved: the preview has changed. The new one is shown.");
    const panel = this.#places.approval.element.querySelector("h2");
    panel?.setAttribute("tabindex", "-1");
    panel?.focus();
  }
}

function runFacts({ run, accounts }) {
  const trigger = run.trigger === "schedule" ? "by its schedule" : "by hand";
  return facts([
    ["Cloud account", accountWords(accounts, run.cloud_account_id)],
    ["Region", run.deploy?.region],
    ["Stack", run.deploy?.stack_name],
    ["Started", [when(run.created_at), `, ${trigger}`]],
    ["Ended", run.ended_at && when(run.ended_at)],
    ["A worker looks again", !run.ended_at && run.deploy?.resume_at ? when(run.deploy.resume_at) : null],
    ["Expires", run.state === "QUEUED" ? when(run.expires_at) : null],
    ["Tries", run.attempt > 1 ? `${run.attempt} workers have taken it` : null],
    ["Plan", `revision ${run.plan_revision}`],
    ["Backup", run.backup ? null : "never, as asked for when it was started"],
  ]);
}

function findingsPart(run) {
  const all = h("a", { href: `#/runs/${run.id}/findings`, class: "strong" }, "All findings of this run");
  return section("Findings", countTags(run, run.counts), h("p", {}, all));
}

function goneNotice(gone) {
  const why = {
    expired: "their time was over", requested: `${gone.by ?? "somebody"} had them deleted`,
    account: "so was said when its cloud account was disconnected",
  };
  return notice("wait", "The results of this run are gone",
    h("p", {}, "Deleted ", when(gone.at), `: ${why[gone.why]}. What is left are its state and counts.`));
}

async function askToCancel(context, run) {
  const applying = run.state === "APPLYING";
  await ask({
    title: "Cancel this run?",
    body: h("p", {}, applying
      ? "CloudFormation is asked to cancel an update, and then puts the stack back. What it cannot cancel, such as the making or "
        + "deleting of a stack, goes on, and this page says why."
      : "It ends, and nothing is changed."),
    confirm: "Cancel the run",
    kind: "danger",
    act: () => context.api.post(`runs/${run.id}/cancel`),
  });
}

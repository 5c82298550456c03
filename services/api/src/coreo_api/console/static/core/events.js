// A run's event stream. EventSource cannot send a token, so the stream is read here (WHATWG HTML, "Server-sent events").

import { Problem } from "./api.js";

const SLOWEST_MS = 15_000;

/** Events {name, data, id} of chunks of text, each as soon as the empty line after it is there. */
class EventReader {
  #rest = "";
  #name = "";
  #data = [];
  #id = "";

  /** The events that this chunk completes. */
  read(chunk) {
    const lines = (this.#rest + chunk).split(/\r\n|\r(?!$)|\n/);
    this.#rest = lines.pop();
    return lines.map((line) => this.#line(line)).filter((event) => event !== null);
  }

  #line(line) {
    if (line === "") {
      const event = this.#data.length > 0 ? { name: this.#name || "message", data: this.#data.join("\n"), id: this.#id } : null;
      this.#name = "";
      this.#data = [];
      return event;
    }
    const at = line.indexOf(":");
    const field = at < 0 ? line : line.slice(0, at);
    const value = at < 0 ? "" : line.slice(at + 1).replace(/^ /, "");
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#name = value;
    else if (field === "id" && !value.includes("\0")) this.#id = value;
    return null;
  }
}

/**
 * Follows a run until it has ended or `signal` aborts; goes on where it broke off. `hear(name, value)` is called with each
 * event, `trouble(problem)` when the stream breaks and, with null, when it is there again. Throws the Problem of an answer
 * that will not become another one (401, 403, 404).
 */
export async function follow(api, runId, { signal, hear, trouble }) {
  let last = null;
  let failures = 0;
  while (!signal.aborted) {
    try {
      const answer = await api.stream(`runs/${runId}/events`, last, signal);
      if (answer.status === 204) return;
      trouble(null);
      for await (const event of eventsOf(answer)) {
        failures = 0;
        last = event.id;
        hear(event.name, JSON.parse(event.data));
      }
      failures += 1; // it ended by itself: the next answer is 204, or the server was restarted
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Problem) || [401, 403, 404].includes(error.status)) throw error;
      failures += 1;
      trouble(error);
    }
    await pause(failures <= 1 ? 200 : Math.min(SLOWEST_MS, 500 * 2 ** failures), signal);
  }
}

async function* eventsOf(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  const events = new EventReader();
  for (;;) {
    let piece;
    try {
      piece = await reader.read();
    } catch {
      throw new Problem(0, "unreachable", "The connection broke.");
    }
    if (piece.done) return;
    yield* events.read(piece.value);
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}

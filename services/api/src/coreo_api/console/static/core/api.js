// The public API, as any client speaks to it.

const BASE = new URL("../v1/", document.baseURI);

/** What the api refused (RFC 9457), or why it did not answer at all (`code` is then "unreachable"). */
export class Problem extends Error {
  constructor(status, code, detail, errors = [], requestId = null) {
    super(detail);
    Object.assign(this, { status, code, errors, requestId });
  }
}

export class Api {
  #token;

  constructor(token) {
    this.#token = token;
  }

  /** The answer's body. Values of `query` that are null or "" are left out; lists are given several times. */
  async get(path, query = {}, { signal } = {}) {
    return this.#read(await this.#send("GET", path, { query, signal }));
  }

  async post(path, body, headers = {}) {
    return this.#read(await this.#send("POST", path, { body, headers }));
  }

  /** All items of a list, up to so many pages. */
  async all(path, query = {}, pages = 10) {
    const items = [];
    let cursor = null;
    for (let page = 0; page < pages; page += 1) {
      const found = await this.get(path, { limit: 200, ...query, cursor });
      items.push(...found.items);
      cursor = found.next_cursor;
      if (cursor === null) break;
    }
    return items;
  }

  /** An event stream's answer; 204 when there is nothing more to come. */
  async stream(path, lastEventId, signal) {
    const headers = { Accept: "text/event-stream" };
    if (lastEventId) headers["Last-Event-ID"] = lastEventId;
    return this.#checked(await this.#send("GET", path, { headers, signal }));
  }

  async #send(method, path, { query = {}, body, headers = {}, signal }) {
    const url = new URL(path, BASE);
    for (const [name, value] of Object.entries(query)) {
      const given = [value].flat().filter((each) => each !== null && each !== undefined && each !== "");
      for (const each of given) url.searchParams.append(name, each);
    }
    const sent = { Authorization: `Bearer ${this.#token}`, ...headers };
    if (body !== undefined) sent["Content-Type"] = "application/json";
    const options = { method, headers: sent, signal, cache: "no-store", credentials: "omit", redirect: "error" };
    try {
      return await fetch(url, { ...options, body: body === undefined ? undefined : JSON.stringify(body) });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem(0, "unreachable", "Coreo does not answer. Check your connection, then try again.");
    }
  }

  async #read(answer) {
    await this.#checked(answer);
    if (answer.status === 204) return null;
    try {
      return await answer.json();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem(0, "unreachable", "The answer was cut off, or is not Coreo's. Try again.");
    }
  }

  async #checked(answer) {
    if (answer.ok) return answer;
    let said = {};
    try {
      said = await answer.json();
    } catch {
      said = {}; // something between us and the api answered, in its own way
    }
    const detail = said.detail ?? `The answer was ${answer.status}, with no words that are Coreo's. Try again.`;
    throw new Problem(answer.status, said.code ?? "unknown", detail, said.errors ?? [], said.request_id ?? null);
  }
}

/** A name for a wish, so that sending it again starts nothing new. */
export function idempotencyKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

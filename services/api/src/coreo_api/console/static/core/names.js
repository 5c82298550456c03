// Names of what runs and plans tell by id: cloud accounts, plans, tokens. Looked up once, and again for an id that is new.

export class Names {
  #api;
  #lists = new Map();

  constructor(api) {
    this.#api = api;
  }

  /** A map of id to cloud account. */
  accounts(ids = []) {
    return this.#list("cloud-accounts", ids);
  }

  plans(ids = []) {
    return this.#list("plans", ids);
  }

  tokens(ids = []) {
    return this.#list("tokens", ids);
  }

  /** After something was changed. */
  forget(path) {
    this.#lists.delete(path);
  }

  async #list(path, ids) {
    const asked = this.#lists.get(path) ?? { found: this.#load(path), missing: new Set() };
    this.#lists.set(path, asked);
    const found = await asked.found;
    const unknown = ids.filter((id) => !found.has(id) && !asked.missing.has(id));
    if (unknown.length === 0) return found;
    const anew = { found: this.#load(path), missing: new Set([...asked.missing, ...unknown]) };
    this.#lists.set(path, anew);
    return anew.found;
  }

  async #load(path) {
    try {
      return new Map((await this.#api.all(path, {}, 50)).map((each) => [each.id, each]));
    } catch (error) {
      this.#lists.delete(path);
      throw error;
    }
  }
}

/** What to call a cloud account: its name, and its number beside it. */
export function accountWords(accounts, id) {
  const found = accounts.get(id);
  return found ? `${found.name} (${found.account_id})` : "an account that was removed";
}

export function planWords(plans, id) {
  return plans.get(id)?.name ?? "a plan that was deleted";
}

export function tokenWords(tokens, id) {
  return tokens.get(id)?.name ?? `a token that was revoked (…${id.slice(-8)})`;
}

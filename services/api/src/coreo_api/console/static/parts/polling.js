// Looking again from time to time, while the page is seen.

import { Problem } from "../core/api.js";
import { fill, h } from "../core/dom.js";
import { notice } from "./ui.js";

/** Has `look` called every so many milliseconds until the page is left; what goes wrong is said in `trouble`. */
export function lookAgain({ signal, again }, look, milliseconds, trouble) {
  const timer = setInterval(async () => {
    if (document.hidden || document.querySelector("dialog[open]")) return;
    try {
      await look();
      fill(trouble);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Problem)) throw error;
      if (error.status === 401) again();
      else fill(trouble, notice("wait", "This is not the newest", h("p", {}, error.message)));
    }
  }, milliseconds);
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
}

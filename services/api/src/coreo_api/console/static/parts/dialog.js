// Questions before something is done. What cannot be undone asks for the stack's name.

import { h, fill } from "../core/dom.js";
import { Problem } from "../core/api.js";
import { button, field, problemNotice } from "./ui.js";

let number = 0;

/**
 * Asks, then does. `act()` is called when it is confirmed; the dialog closes when it is done, and shows the Problem that it
 * throws. Resolves to what `act` gave, or undefined when it was called off.
 *
 * `typed`: a text that must be typed first. `onProblem(problem)` may answer true: then the dialog closes too.
 */
export function ask({ title, body = [], confirm, kind = "primary", typed = null, act, onProblem = () => false }) {
  number += 1;
  const opener = document.activeElement;
  return new Promise((resolve) => {
    let result;
    const said = h("div");
    const name = typed === null ? null : h("input", {
      id: `typed-${number}`, type: "text", autocomplete: "off", spellcheck: "false", on: { input: () => check() },
    });
    const yes = h("button", { type: "submit", class: `button ${kind}` }, confirm);
    const no = button("Not now", () => dialog.close());
    const check = () => { yes.disabled = name !== null && name.value !== typed; };
    const submit = async (event) => {
      event.preventDefault();
      if (yes.disabled) return;
      yes.disabled = true;
      yes.setAttribute("aria-busy", "true");
      fill(said);
      try {
        result = await act();
        dialog.close();
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        if (onProblem(error)) dialog.close();
        else fill(said, problemNotice(error));
      } finally {
        yes.removeAttribute("aria-busy");
        check();
      }
    };
    const form = h("form", { on: { submit } },
      h("h2", { id: `dialog-${number}` }, title), body,
      name === null ? null : field(["Type ", h("strong", {}, typed), " to confirm"], name),
      said, h("div", { class: "buttons" }, yes, no));
    const dialog = h("dialog", { "aria-labelledby": `dialog-${number}` }, form);
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (opener?.isConnected) opener.focus();
      resolve(result);
    });
    document.body.append(dialog);
    check();
    dialog.showModal();
  });
}

/** A field of several lines for a reason, and how to read it. */
export function reasonField(label, help) {
  number += 1;
  const control = h("textarea", { id: `reason-${number}`, rows: 3, required: true, maxlength: 1000 });
  return { control, row: field(label, control, help) };
}

/** Dialogs that are open when the person goes elsewhere. */
export function closeDialogs() {
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
}

// Sign in: a team token, which stays in this page or this tab.

import { Problem } from "../core/api.js";
import { fill, h } from "../core/dom.js";
import { remember } from "../core/session.js";
import { field, problemNotice } from "../parts/ui.js";

const UNKNOWN = "Coreo knows no such token: it is mistyped, was revoked, or has expired.";
const SHAPE = /^coreo_[A-Za-z0-9_-]+$/;

/** `enter(token)` raises a Problem for one that is not valid; `done()` goes on. */
export function showSignIn({ main, titled, trouble, enter, done }) {
  const said = h("div", {}, trouble);
  const token = h("input", {
    id: "token", type: "password", autocomplete: "off", spellcheck: "false", required: true, placeholder: "coreo_…",
    "aria-describedby": "token-help",
  });
  const keep = h("input", { id: "keep", type: "checkbox" });
  const submit = h("button", { type: "submit", class: "button primary" }, "Sign in");
  const tryIt = async (event) => {
    event.preventDefault();
    const value = token.value.trim();
    if (!SHAPE.test(value)) {
      refuse(new Problem(0, "shape", "A team token begins with coreo_ and has letters, digits, - and _ after it."));
      return;
    }
    submit.disabled = true;
    try {
      await enter(value);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      refuse(error.status === 401 ? new Problem(401, error.code, UNKNOWN) : error);
      return;
    } finally {
      submit.disabled = false;
    }
    remember(value, keep.checked);
    done();
  };
  const refuse = (problem) => {
    fill(said, problemNotice(problem, problem.status === 401 ? "This token is not valid" : "Not signed in"));
    token.setAttribute("aria-invalid", "true");
    token.focus();
    token.select();
  };
  fill(main, h("div", { class: "narrow" },
    titled("Sign in"),
    h("form", { class: "card", on: { submit: tryIt } },
      said,
      field("Team token", token),
      h("p", { class: "quiet help", id: "token-help" },
        "An operator makes a team's first one; further ones: ", h("code", {}, "coreo token create --name NAME"), "."),
      h("div", { class: "check" }, keep, h("label", { for: "keep" }, "Keep it until this tab is closed")),
      h("p", { class: "quiet help" }, "Otherwise it is forgotten when the page is loaded anew. It is sent to this server alone."),
      h("div", { class: "buttons" }, submit))));
  token.focus();
}

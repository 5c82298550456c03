// The one way in which this console makes elements. Whatever text is given stays text.

import { plain } from "./text.js";

const ATTRIBUTES = new Set([
  "class", "id", "for", "type", "name", "value", "title", "role", "scope", "colspan", "tabindex", "autocomplete",
  "spellcheck", "placeholder", "min", "max", "maxlength", "open", "checked", "disabled", "required", "hidden", "multiple",
  "selected", "readonly", "rows", "rel", "target", "datetime", "pattern", "inputmode",
]);

/** An element. `on` has listeners by event; null, undefined and false leave an attribute or a child out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (name === "href") {
      element.setAttribute("href", safeUrl(value));
    } else if (ATTRIBUTES.has(name) || name.startsWith("aria-") || name.startsWith("data-")) {
      element.setAttribute(name, value === true ? "" : plain(value));
    } else {
      throw new Error(`no attribute of ours: ${name}`);
    }
  }
  add(element, children);
  return element;
}

function add(parent, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    parent.append(child instanceof Node ? child : document.createTextNode(plain(child)));
  }
}

/** Only places of this console and pages in https: what the api says never becomes a script. */
function safeUrl(value) {
  const url = String(value);
  if (url.startsWith("#") || url.startsWith("https://")) return url;
  throw new Error("a link leads to a place of the console or to https");
}

/** Puts these children in place of those that are there. */
export function fill(element, ...children) {
  element.replaceChildren();
  add(element, children);
  return element;
}

const ID = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g;

/** A sentence of the api in which ids of runs are links. */
export function withRunLinks(text) {
  const parts = [];
  let last = 0;
  for (const match of text.matchAll(ID)) {
    parts.push(text.slice(last, match.index), h("a", { href: `#/runs/${match[0]}` }, match[0].slice(-8)));
    last = match.index + match[0].length;
  }
  return [...parts, text.slice(last)];
}

// The token: in this page's memory and, if its owner wishes, in this tab until it is closed. Nowhere else.

const KEY = "coreo-token";
let token = null;

export function remembered() {
  token ??= sessionStorage.getItem(KEY);
  return token;
}

export function remember(value, keep) {
  token = value;
  if (keep) sessionStorage.setItem(KEY, value);
  else sessionStorage.removeItem(KEY);
}

export function forget() {
  token = null;
  sessionStorage.removeItem(KEY);
}

"use strict";
(() => {
  const lower = (elements) => elements.map((each) => each.textContent).join(" ").toLowerCase();
  // What is said of a rule, and what is said of each of its findings, are searched apart.
  const rules = [...document.querySelectorAll("details.rule")].map((element) => {
    const inside = [...element.querySelector(".inside").children].filter((part) => !part.classList.contains("scroll"));
    const rows = [...element.querySelectorAll("tbody > tr")].map((row) => ({ row, text: lower([row]) }));
    return { element, text: lower([element.querySelector("summary"), ...inside]), rows };
  });
  const search = document.getElementById("search");
  const pickers = ["severity", "status", "service"].map((name) => document.getElementById(name));
  const count = document.getElementById("count");
  const apply = () => {
    const wanted = search.value.trim().toLowerCase();
    let shown = 0;
    for (const { element, text, rows } of rules) {
      const whole = text.includes(wanted);
      let found = whole;
      for (const each of rows) {
        each.row.hidden = !whole && !each.text.includes(wanted);
        found ||= !each.row.hidden;
      }
      element.hidden = !found || !pickers.every((picker) => !picker.value || element.dataset[picker.id] === picker.value);
      shown += element.hidden ? 0 : 1;
    }
    count.textContent = `${shown} of ${rules.length} rules`;
  };
  search.addEventListener("input", apply);
  for (const picker of pickers) picker.addEventListener("change", apply);
  document.getElementById("filters").hidden = false;
  apply();
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = rules.filter(({ element }) => !element.open);
    for (const { element } of opened) element.open = true;
  });
  window.addEventListener("afterprint", () => { for (const { element } of opened) element.open = false; });
})();

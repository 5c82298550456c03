"use strict";
(() => {
  const rules = [...document.querySelectorAll("details.rule")];
  const text = new Map(rules.map((rule) => [rule, rule.textContent.toLowerCase()]));
  const search = document.getElementById("search");
  const pickers = ["severity", "status", "service"].map((name) => document.getElementById(name));
  const count = document.getElementById("count");
  const apply = () => {
    const wanted = search.value.trim().toLowerCase();
    let shown = 0;
    for (const rule of rules) {
      const fits = pickers.every((picker) => !picker.value || rule.dataset[picker.id] === picker.value);
      rule.hidden = !(fits && (!wanted || text.get(rule).includes(wanted)));
      shown += rule.hidden ? 0 : 1;
    }
    count.textContent = `${shown} of ${rules.length} rules`;
  };
  search.addEventListener("input", apply);
  for (const picker of pickers) picker.addEventListener("change", apply);
  document.getElementById("filters").hidden = false;
  apply();
  window.addEventListener("beforeprint", () => { for (const rule of rules) rule.open = true; });
})();

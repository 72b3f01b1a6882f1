// Shows the cards that fit the chosen values. Without it every card is shown.
"use strict";
(() => {
  const finder = document.querySelector(".finder");
  if (!finder) return;
  const cards = [...document.querySelectorAll("[data-card]")];
  const texts = cards.map((card) => card.textContent.toLowerCase());
  const selects = [...finder.querySelectorAll("select")];
  const words = finder.querySelector("input");
  const count = finder.querySelector("output");

  function apply() {
    const wanted = words.value.trim().toLowerCase();
    let shown = 0;
    cards.forEach((card, n) => {
      const fits = selects.every((select) => !select.value || card.getAttribute(`data-${select.name}`) === select.value);
      card.hidden = !(fits && texts[n].includes(wanted));
      shown += card.hidden ? 0 : 1;
    });
    document.querySelectorAll("[data-list]").forEach((list) => {
      list.hidden = !list.querySelector("[data-card]:not([hidden])");
    });
    count.value = shown === cards.length ? `${shown} shown` : `${shown} of ${cards.length} shown`;
  }

  finder.hidden = false;
  finder.addEventListener("input", () => {
    document.querySelectorAll("details.rest").forEach((rest) => { rest.open = true; });
    apply();
  });
  apply();
})();

/* What is allowed for a while, kept true on an open page: read again when something was decided, started or ended. */
"use strict";

(() => {
  const { toast, tick, now } = window.agentsec;
  const SOON = 300, LATE = 1_200;
  const place = () => document.getElementById("allowances");
  let asked = 0, ending = 0;

  async function look() {
    const old = place();
    if (!old) return;
    const answer = await fetch(old.dataset.address, { headers: { "HX-Request": "true" } }).catch(() => null);
    if (!answer?.ok || answer.redirected) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("allowances");
    /* Nobody's focus is taken away for a number that changed. */
    if (fresh.dataset.ids === old.dataset.ids && old.contains(document.activeElement)) { arm(); return; }
    const before = old.querySelector("details"), after = fresh.querySelector("details");
    if (before && after) after.open = before.open;
    const held = old.contains(document.activeElement);
    old.replaceWith(fresh);
    htmx.process(fresh);
    if (held) (after?.querySelector("summary") ?? document.getElementById("main")).focus({ preventScroll: true });
    tick();
    arm();
  }

  /* One that ends by itself leaves by itself. */
  function arm() {
    clearTimeout(ending);
    const ends = [...place().querySelectorAll('[data-standing="1"]')].map((node) => Date.parse(node.dataset.until) - now());
    if (ends.length) ending = setTimeout(look, Math.max(0, Math.min(...ends)) + LATE);
  }

  const soon = () => { clearTimeout(asked); asked = setTimeout(look, SOON); };
  for (const name of ["live:row", "live:changed", "live:resync", "agentsec:decided", "agentsec:allowances"]) {
    document.addEventListener(name, soon);
  }
  document.addEventListener("agentsec:allowances", (event) => {
    toast(event.detail.message, { danger: event.detail.danger, seconds: 4 });
  });
  document.addEventListener("keydown", (event) => {
    const tickbox = document.getElementById("while");
    if (event.key !== "w" || !tickbox || event.defaultPrevented || event.metaKey || event.ctrlKey || event.altKey) return;
    if (document.querySelector("dialog[open]") || event.target.closest("input:not([type=checkbox]), textarea, select")) return;
    event.preventDefault();
    tickbox.checked = !tickbox.checked;
    document.getElementById("announcer").textContent = tickbox.checked ? "Allowed for a while too" : "Only this once";
  });
  if (place()) arm();
})();

/* For how long a card was in view before it was decided, sent along with the decision. Only while the page is visible. */
"use strict";

(() => {
  const views = new WeakMap();  // element with a stamp → milliseconds so far, and since when it counts

  function look() {
    for (const node of document.querySelectorAll("[data-served]")) {
      if (!views.has(node)) views.set(node, { total: 0, since: document.hidden ? null : performance.now() });
    }
  }

  function seen(node) {
    const view = views.get(node);
    return Math.round(view.total + (view.since === null ? 0 : performance.now() - view.since));
  }

  document.addEventListener("visibilitychange", () => {
    for (const node of document.querySelectorAll("[data-served]")) {
      const view = views.get(node);
      if (!view) continue;
      if (document.hidden) Object.assign(view, { total: seen(node), since: null });
      else view.since ??= performance.now();
    }
    look();
  });

  document.addEventListener("htmx:configRequest", (event) => {
    const { verb, elt, parameters } = event.detail;
    if (verb !== "post" || !elt.matches("form")) return;
    const node = elt.querySelector("[data-served]") ?? elt.closest("#card")?.querySelector("[data-served]");
    if (!node || !views.has(node)) return;
    parameters.served = node.dataset.served;
    parameters.seen_ms = seen(node);
  });

  document.addEventListener("htmx:afterSwap", look);
  look();
})();

/* Keys of one character, which a person may switch off: none then reaches any script of a page (WCAG 2.1.4). While they
 * are on, what has one says so to a screen reader. What the scripts do with them is theirs. */
"use strict";

(() => {
  const TYPED = "input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]";

  if (document.body.dataset.keys === "off") {
    /* Before all others, since it listens on the window and on the way down. Blanks press buttons: they go through. */
    window.addEventListener("keydown", (event) => {
      // A browser that fills a field in may send keys without a name.
      const single = [...(event.key ?? "")].length === 1 && event.key !== " ";
      if (!single || event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.(TYPED)) return;
      event.stopImmediatePropagation();
    }, true);
    return;
  }

  /* The keys on buttons are those of the inbox: elsewhere its script is not there to hear them. */
  const inbox = document.getElementById("inbox");
  const name = (node, key) => {
    if (node.getAttribute("aria-keyshortcuts") !== key) node.setAttribute("aria-keyshortcuts", key);
  };

  function all(root) {
    for (const node of root.querySelectorAll("[data-key]")) name(node, node.dataset.key);
    if (!inbox) return;
    for (const key of root.querySelectorAll(".btn:not([data-reason]) > kbd")) name(key.parentElement, key.textContent);
  }
  all(document);
  new MutationObserver((changes) => {
    for (const { addedNodes } of changes) for (const node of addedNodes) if (node.querySelectorAll) all(node);
  }).observe(document.getElementById("main"), { childList: true, subtree: true });
})();

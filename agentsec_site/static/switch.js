/* The kill switch: keeps the banner of an open page true, asks for a name only where one is needed. */
"use strict";

(() => {
  const LOOK = 2000;
  const place = document.getElementById("switches");
  const dialog = document.getElementById("switch-dialog");

  async function look() {
    if (document.hidden) return;
    try {
      const answer = await fetch("/switch/banner", { headers: { "HX-Request": "true" }, redirect: "error" });
      if (!answer.ok) return;
      const text = await answer.text();
      /* Only what changed is replaced, so that nobody's focus is lost and nothing is read out twice. */
      const scopes = (root) => [...root.querySelectorAll(".switch-banner b")].map((node) => node.textContent).join("\n");
      const fresh = document.createElement("div");
      fresh.innerHTML = text;
      if (scopes(fresh) !== scopes(place)) {
        place.replaceChildren(...fresh.childNodes);
        document.dispatchEvent(new CustomEvent("switch:changed"));
      }
    } catch {
      /* The server is away; the page says so by its own means. */
    }
  }
  if (place) setInterval(look, LOOK);

  document.addEventListener("submit", (event) => {
    const back = event.target.closest("#switches form")?.elements.next;
    if (back) back.value = location.pathname + location.search;
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-closes]")) event.target.closest("dialog").close();
  });
  if (dialog) {
    const name = dialog.querySelector("[name=name]");
    const fit = () => { name.disabled = dialog.querySelector("[name=kind]:checked").value === "all"; name.required = !name.disabled; };
    dialog.addEventListener("change", fit);
    fit();
  }
})();

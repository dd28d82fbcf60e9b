/* The page of one action: follows along while it runs, at most twice a second. */
"use strict";

(() => {
  const { inTurn, load } = window.agentsec;
  const card = document.getElementById("card");
  const id = card.dataset.id;
  const PAUSE = 500;
  let last = 0, timer = 0;

  function follow() {
    clearTimeout(timer);
    const wait = Math.max(0, last + PAUSE - Date.now());
    timer = setTimeout(async () => {
      last = Date.now();
      const streams = [...document.querySelectorAll(".stream")].map((node) => node.scrollTop + node.clientHeight >= node.scrollHeight - 4);
      const opened = [...document.querySelectorAll("#progress details")].map((node) => node.open);
      await load(`/actions/${id}/progress`, { target: "#progress", swap: "outerHTML" });
      document.querySelectorAll(".stream").forEach((node, at) => { if (streams[at] ?? true) node.scrollTop = node.scrollHeight; });
      document.querySelectorAll("#progress details").forEach((node, at) => { node.open = opened[at] ?? node.open; });
    }, wait);
  }

  const refreshPanel = inTurn(() => {
    const typing = document.querySelector("#edit-form, #reject-form:not([hidden]), [data-aside]:not([hidden])");
    const busy = typing || document.getElementById("panel").contains(document.activeElement);
    const what = busy ? "#panel-status" : "#panel";
    return load(`/actions/${id}/panel`, { target: what, select: what, swap: "outerHTML" });
  });

  for (const name of ["changed", "resync", "open"]) {
    document.addEventListener(`live:${name}`, (event) => {
      follow();
      if (!String(event.detail.topic ?? "").startsWith("output:")) refreshPanel();
    });
  }
  document.addEventListener("switch:changed", () => refreshPanel());
  document.addEventListener("agentsec:decided", (event) => {
    window.agentsec.toast(event.detail.message);
    follow();
  });
  document.addEventListener("click", (event) => {
    const form = document.getElementById("reject-form");
    if (event.target.closest('[data-shows="reject"]')) { form.hidden = false; form.querySelector("textarea").focus(); }
    if (event.target.closest("[data-hides]")) {
      if (form) form.hidden = true;
      document.getElementById("kept")?.remove();
      document.getElementById("edit-slot")?.replaceChildren();
    }
    if (event.target.closest("[data-reload]")) { event.preventDefault(); location.reload(); }
  });
})();

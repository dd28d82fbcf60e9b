/* The inbox: choosing by mouse and keys, deciding, undoing, and rows that come and go without anything jumping. */
"use strict";

(() => {
  const { load, toast, tick, now, csrf } = window.agentsec;
  const inbox = document.getElementById("inbox");
  const detail = document.getElementById("detail");
  const announcer = document.getElementById("announcer");
  const UNDO = 5_000;
  let lastDecision = null;
  let chosen = "";  // what is being opened or is open; the card itself follows a moment later

  const $ = (id) => document.getElementById(id);
  const list = () => $("rows");
  const rows = () => [...list().querySelectorAll(".row:not(.is-leaving)")];
  const row = (id) => $(`row-${id}`);
  const openId = () => $("card")?.dataset.id ?? "";
  const link = (node) => node.querySelector(".row-link");
  const waiting = inbox.dataset.show === "waiting";
  const say = (text) => { announcer.textContent = text; };

  /* ---- choosing ---- */
  function mark(id) {
    chosen = id;
    for (const each of list().querySelectorAll('[aria-current="true"]')) each.removeAttribute("aria-current");
    const node = row(id);
    if (!node) return;
    link(node).setAttribute("aria-current", "true");
    node.scrollIntoView({ block: "nearest" });
  }

  function remember(id) {
    const url = new URL(location.href);
    if (id) url.searchParams.set("open", id); else url.searchParams.delete("open");
    history.replaceState(null, "", url);
  }

  async function select(id, { focus = false } = {}) {
    mark(id);
    remember(id);
    document.body.classList.add("is-open");
    await load(`/actions/${id}/card`, { target: "#detail", swap: "innerHTML" });
    if (chosen !== id || openId() !== id) return;
    detail.scrollTop = 0;
    if (focus) detail.querySelector(".sentence")?.focus({ preventScroll: true });
    else say(detail.querySelector(".sentence")?.textContent ?? "");
  }

  function close() {
    document.body.classList.remove("is-open");
    const node = row(openId());
    remember("");
    if (node) link(node).focus();
  }

  function clearDetail() {
    const hint = document.createElement("div");
    hint.className = "empty";
    hint.append(Object.assign(document.createElement("h2"), { textContent: "All done" }),
      Object.assign(document.createElement("p"), { textContent: "Nothing else waits for you. What comes next appears on the left." }));
    detail.replaceChildren(hint);
    document.body.classList.remove("is-open");
    remember("");
    mark("");
  }

  function step(by) {
    const all = rows();
    if (!all.length) return;
    const at = all.findIndex((node) => node.dataset.id === chosen);
    const next = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.max(0, Math.min(all.length - 1, at + by))];
    if (next.dataset.id !== chosen) select(next.dataset.id);
  }

  document.addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    const rowLink = event.target.closest(".row-link");
    const reload = event.target.closest("[data-reload]");
    const more = event.target.closest("[data-more-link]");
    if (rowLink) { event.preventDefault(); select(rowLink.closest(".row").dataset.id, { focus: true }); }
    else if (reload) { event.preventDefault(); select(reload.dataset.reload); }
    else if (event.target.closest("[data-back]")) { event.preventDefault(); close(); }
    else if (more) { event.preventDefault(); loadMore(more); }
    else if (event.target.closest("[data-hides]")) closeForms();
    else if (event.target.closest('[data-shows="reject"]')) openReject();
    else if (event.target.closest('[data-shows="edit"]')) { $("reject-form").hidden = true; }
  });

  /* ---- deciding ---- */
  function openReject() {
    const form = $("reject-form");
    if (!form) return;
    $("edit-slot").replaceChildren();
    form.hidden = false;
    document.querySelector('[data-shows="reject"]').setAttribute("aria-expanded", "true");
    $("reject-why").focus();
  }

  function closeForms() {
    if ($("reject-form")) $("reject-form").hidden = true;
    document.querySelector('[data-shows="reject"]')?.setAttribute("aria-expanded", "false");
    $("edit-slot")?.replaceChildren();
    document.activeElement?.blur();
  }

  const formOpen = () => !!$("edit-form") || $("reject-form")?.hidden === false;

  function approveByKey() {
    const form = $("approve-form");
    if (!form) return;
    const confirm = $("confirm");
    if (confirm && !confirm.value) confirm.focus(); else form.requestSubmit();
  }

  document.addEventListener("agentsec:decided", (event) => {
    const { id, effect, state, message } = event.detail;
    const undoable = effect === "approved" || effect === "counted";
    lastDecision = undoable ? { id, until: now() + UNDO } : null;
    toast(message, { slot: "decision", seconds: undoable ? 5 : 4, action: undoable ? { label: "Undo", run: undo } : null });
    if (!waiting || effect === "undone" || effect === "again") return;
    const all = rows();
    const at = all.findIndex((node) => node.dataset.id === id);
    const next = all[at + 1] ?? all[at - 1];
    if (state !== "pending") leave(id);
    if (chosen !== id) return;
    if (next) select(next.dataset.id); else if (state !== "pending") clearDetail();
  });

  async function undo() {
    if (!lastDecision || now() > lastDecision.until) { toast("Too late to undo.", { slot: "decision", danger: true }); return; }
    const { id } = lastDecision;
    lastDecision = null;
    const answer = await fetch(`/actions/${id}/undo`, {
      method: "POST", headers: { "X-CSRFToken": csrf(), "HX-Request": "true" },
    }).catch(() => null);
    if (!answer) { toast("The server cannot be reached. Nothing was undone.", { slot: "decision", danger: true }); return; }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const note = page.querySelector('.note[role="alert"]')?.textContent;
    toast(answer.ok ? "Undone. It waits for a decision again." : note ?? "It could not be undone.", { slot: "decision", danger: !answer.ok });
    if (answer.ok) select(id);
  }

  /* ---- rows that come and go ---- */
  function parse(html) {
    const holder = document.createElement("template");
    holder.innerHTML = html;
    return holder.content.firstElementChild;
  }

  function count(n) {
    for (const node of [$("waiting")]) { node.textContent = n; node.dataset.n = n; }
    document.title = n > 0 ? `(${n}) Inbox · agentsec` : "Inbox · agentsec";
  }

  function emptiness() { $("list-empty").hidden = rows().length > 0; }

  function leave(id) {
    const node = row(id);
    if (!node || node.classList.contains("is-leaving")) return;
    node.classList.add("is-leaving");
    setTimeout(() => { node.remove(); emptiness(); }, 500);
    emptiness();
  }

  function place(fresh) {
    const after = rows().find((node) => node.dataset.deadline > fresh.dataset.deadline);
    if (after) after.before(fresh);
    else if (!list().dataset.more) list().append(fresh);
    else return false;
    return true;
  }

  function put(fresh, { quiet = false } = {}) {
    const id = fresh.dataset.id, old = row(id);
    if (old && !old.classList.contains("is-leaving")) {
      const focused = old.contains(document.activeElement);
      old.replaceWith(fresh);
      if (focused) link(fresh).focus({ preventScroll: true });
    } else {
      old?.remove();
      if (!place(fresh)) return;
      if (!quiet) {
        fresh.classList.add("is-new");
        say(`New: ${fresh.querySelector(".row-tool").textContent}`);
      }
    }
    if (chosen === id) link(fresh).setAttribute("aria-current", "true");
    emptiness();
    tick();
  }

  document.addEventListener("live:row", (event) => {
    const { id, state, html, waiting: n } = event.detail;
    count(n);
    const shown = !!row(id);
    if (waiting && state !== "pending") leave(id);
    else if (waiting && !inbox.dataset.q) put(parse(html));
    else if (shown) put(parse(html));
    if (openId() === id) refreshPanel(id, state);
  });

  /* The card that is open stays; only what is known about it changes, and never under somebody's hands. */
  function refreshPanel(id, state) {
    const panel = $("panel"), card = $("card");
    if (!panel || card.dataset.id !== id) return;
    const busy = state === "pending" && panel.dataset.state === "pending" &&
      ($("edit-form") || formOpen() || panel.contains(document.activeElement));
    const what = busy ? "#panel-status" : "#panel";
    load(`/actions/${id}/panel?seen=${card.dataset.digest}`, { target: what, select: what, swap: "outerHTML" });
  }

  /* Asked for before somebody opened a form in it, answered afterwards: what is being written stays. */
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { target, requestConfig } = event.detail;
    if (target.id === "panel" && requestConfig.verb === "get" && formOpen()) event.detail.shouldSwap = false;
  });

  async function fragment(address) {
    const answer = await fetch(address, { headers: { "HX-Request": "true" } });
    if (!answer.ok || answer.redirected) throw new Error(`list: ${answer.status}`);
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  }

  async function loadMore(button) {
    const page = await fragment(button.getAttribute("href")).catch(() => null);
    if (!page) { location.assign(button.href); return; }
    const fresh = page.getElementById("rows");
    list().dataset.more = fresh.dataset.more;
    list().append(...fresh.children);
    $("list-foot").replaceWith(page.getElementById("list-foot"));
    tick();
  }

  /* After a gap: take over what is new, let go what is gone, and leave the rest where it is. */
  async function resync() {
    const url = new URL(location.href);
    url.searchParams.delete("open");
    url.searchParams.delete("after");
    const page = await fragment(url.pathname + url.search).catch(() => null);
    if (!page) return;
    const fresh = page.getElementById("rows");
    const ids = new Set([...fresh.children].map((node) => node.dataset.id));
    const whole = !fresh.dataset.more;
    for (const node of rows()) if (!ids.has(node.dataset.id) && whole) leave(node.dataset.id);
    for (const node of [...fresh.children]) {
      const old = row(node.dataset.id)?.dataset;
      if (old?.digest !== node.dataset.digest || old?.held !== node.dataset.held || !waiting) {
        if (waiting || row(node.dataset.id)) put(node, { quiet: true });
        else list().prepend(node);
      }
    }
    count(fresh.dataset.waiting);
    if (openId()) refreshPanel(openId(), row(openId()) ? "pending" : "decided");
  }
  document.addEventListener("live:resync", resync);
  document.addEventListener("switch:changed", resync);

  /* ---- keys: other scripts of this page add theirs to agentsec.inbox.keys ---- */
  const keys = {
    j: () => step(1), k: () => step(-1), a: approveByKey, r: openReject, z: undo,
    e: () => document.querySelector('[data-shows="edit"]')?.click(),
    o: () => openId() && location.assign(`/actions/${openId()}`),
    "/": () => $("q").focus(), "?": () => $("keys").showModal(),
  };
  window.agentsec.inbox = { keys, select, openId, rows, row, say, closeForms, refreshPanel };
  const typing = (node) => node.closest("input, textarea, select, [contenteditable]");
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.metaKey || event.ctrlKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.key === "Escape") {
      if (formOpen() || typing(event.target)) { closeForms(); event.target.blur?.(); }
      else if (matchMedia("(max-width: 760px)").matches) close();
      return;
    }
    if (typing(event.target)) return;
    if (Object.hasOwn(keys, event.key)) { event.preventDefault(); keys[event.key](); }
  });
  document.addEventListener("htmx:afterSettle", (event) => {
    if (event.target.id === "edit-slot") event.target.querySelector("textarea")?.focus();
  });

  if (openId()) mark(openId());
  else if (matchMedia("(min-width: 761px)").matches && rows().length) select(rows()[0].dataset.id);
})();

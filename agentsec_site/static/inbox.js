/* The inbox: choosing by mouse and keys, deciding, undoing, and rows that come and go without anything jumping. */
"use strict";

(() => {
  const { inTurn, load, toast, tick, now, csrf, enter } = window.agentsec;
  const inbox = document.getElementById("inbox");
  const detail = document.getElementById("detail");
  const announcer = document.getElementById("announcer");
  const UNDO = 5_000;
  let decided = [];  // what may still be undone, the last one last
  let shownAt = 0, followed = "", focuses = false;
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
  function choose(node) {
    node.classList.add("is-chosen");
    link(node).setAttribute("aria-current", "true");
  }

  function mark(id) {
    chosen = id;
    for (const each of list().querySelectorAll(".is-chosen")) {
      each.classList.remove("is-chosen");
      link(each).removeAttribute("aria-current");
    }
    const node = row(id);
    if (!node) return;
    choose(node);
    node.scrollIntoView({ block: "nearest" });
  }

  function remember(id) {
    const url = new URL(location.href);
    if (id) url.searchParams.set("open", id); else url.searchParams.delete("open");
    history.replaceState(null, "", url);
  }

  /* Until the chosen card is there, the one before it can neither be clicked nor decided by a key. */
  function select(id, { focus = false, follows = false } = {}) {
    followed = follows ? id : "";
    mark(id);
    remember(id);
    document.body.classList.add("is-open");
    [detail.inert, focuses] = [true, focus];
    load(`/actions/${id}/card`, { target: "#detail", swap: "innerHTML" });
  }

  document.addEventListener("htmx:afterSettle", (event) => {
    if (event.target !== detail || openId() !== chosen) return;
    [detail.inert, shownAt] = [false, performance.now()];
    detail.scrollTop = 0;
    if (focuses) detail.querySelector(".sentence")?.focus({ preventScroll: true });
    else say(detail.querySelector(".sentence")?.textContent ?? "");
  });

  /* It could not be read: the one that is still there is the chosen one again. */
  for (const name of ["htmx:responseError", "htmx:sendError", "htmx:sendAbort", "htmx:timeout"]) {
    document.addEventListener(name, (event) => {
      if (event.target !== detail || !event.detail.requestConfig.path.includes(chosen)) return;
      detail.inert = false;
      mark(openId());
      remember(openId());
    });
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
    detail.inert = false;
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
    else if (more) { event.preventDefault(); loadMore({ byHand: true }); }
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
    enter($("reject-why"));
  }

  function closeForms() {
    for (const form of document.querySelectorAll("#reject-form, [data-aside]")) form.hidden = true;
    document.querySelector('[data-shows="reject"]')?.setAttribute("aria-expanded", "false");
    $("edit-slot")?.replaceChildren();
    document.activeElement?.blur();
  }

  const formOpen = () => !!document.querySelector("#edit-form, #reject-form:not([hidden]), [data-aside]:not([hidden])");

  /* The key that decided the card before is not yet meant for the one that came in its place. */
  const HASTE = 400;

  function approveByKey() {
    const form = $("approve-form");
    if (!form) { $("show-current")?.focus(); return; }
    if (followed && performance.now() - shownAt < HASTE) return;
    const confirm = $("confirm");
    if (confirm && !confirm.value) enter(confirm); else form.requestSubmit();
  }

  document.addEventListener("agentsec:decided", (event) => {
    const { id, effect, state, message } = event.detail;
    const undoable = effect === "approved" || effect === "counted";
    decided = undoable ? [...decided, { id, until: now() + UNDO }] : [];
    toast(message, { slot: "decision", seconds: undoable ? 5 : 4, action: undoable ? { label: "Undo", run: undo } : null });
    if (!waiting || effect === "undone" || effect === "again") return;
    const all = rows();
    const at = all.findIndex((node) => node.dataset.id === id);
    const next = all[at + 1] ?? all[at - 1];
    if (state !== "pending") leave(id);
    if (chosen !== id) return;
    if (next) select(next.dataset.id, { follows: true }); else if (state !== "pending") clearDetail();
  });

  async function undo() {
    decided = decided.filter(({ until }) => now() <= until);
    if (!decided.length) { toast("Too late to undo.", { slot: "decision", danger: true }); return; }
    const { id } = decided.pop();
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
  const MOMENT = 100, FADE = 500, SPARE = 25, REMEMBERED = 2_000;
  const pane = $("list"), pill = $("new-above");
  const versions = new Map();  // the last change of an action that this page knows; rows that left among them
  let arrived = new Map(), gone = [], latest = [], moment = 0, above = 0, loading = null;
  let room = Math.max(50, list().children.length);  // how many rows stay in the page; "Show more" asks for more

  function parse(html) {
    const holder = document.createElement("template");
    holder.innerHTML = html;
    return holder.content.firstElementChild;
  }

  function count(n) {
    const node = $("waiting");
    if (node.dataset.n === String(n)) return;
    node.textContent = n;
    node.dataset.n = n;
    document.title = n > 0 ? `(${n}) Inbox · agentsec` : "Inbox · agentsec";
  }

  function emptiness() {
    const filled = !!list().querySelector(".row:not(.is-leaving)");
    if ($("list-empty").hidden !== filled) $("list-empty").hidden = filled;
  }

  /* Whether this is later than what the page knows of the action, which it then knows; `again`: or as late. */
  function learns(id, v, { again = false } = {}) {
    const known = versions.get(id) ?? Number(row(id)?.dataset.v ?? -1);
    if (v < known || (v === known && !again)) return false;
    versions.delete(id);
    versions.set(id, v);
    if (versions.size > REMEMBERED) versions.delete(versions.keys().next().value);
    return true;
  }

  /* What is read stays where it is: the chosen row if it is in sight, else the first row that is. */
  function steady(change) {
    const { top, bottom, left } = pane.getBoundingClientRect();
    const seen = (node) => {
      const box = node?.getBoundingClientRect();
      return box && box.bottom > top && box.top < bottom ? box : null;
    };
    const mine = chosen ? row(chosen) : null;
    const anchor = seen(mine) ? mine : document.elementFromPoint(left + 40, top + 44)?.closest(".row") ?? null;
    const before = anchor ? anchor.getBoundingClientRect().top : 0;
    change();
    const now = anchor && (anchor.isConnected ? anchor : row(anchor.dataset.id));
    if (!now) return;
    const moved = now.getBoundingClientRect().top - before;
    if (Math.abs(moved) >= 1) pane.scrollTop += moved;
  }

  function tellAbove(n) {
    if (!pill || n === above) return;
    above = n;
    pill.hidden = n === 0;
    pill.firstElementChild.textContent = `${n} new above`;
  }
  pill?.addEventListener("click", () => { pane.scrollTop = 0; tellAbove(0); });
  pane.addEventListener("scroll", () => { if (pane.scrollTop < 8) tellAbove(0); }, { passive: true });

  function leave(id) {
    const node = row(id);
    if (!node || node.classList.contains("is-leaving")) return;
    node.classList.add("is-leaving");
    setTimeout(() => { gone.push(node); soon(); }, FADE);
    emptiness();
  }

  /* The most urgent first, in the order of the list: by deadline, then by id. */
  const before = (a, b) => a.dataset.deadline < b.dataset.deadline || (a.dataset.deadline === b.dataset.deadline && a.dataset.id < b.dataset.id);

  function place(fresh) {
    const nodes = list().children;
    let low = 0, high = nodes.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (before(nodes[middle], fresh)) low = middle + 1; else high = middle;
    }
    if (low === nodes.length && list().dataset.more) return false;
    list().insertBefore(fresh, nodes[low] ?? null);
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
        latest.push(fresh);
      }
    }
    if (chosen === id) choose(fresh);
    tick(fresh);
  }

  /* The page stays as long as it was asked to be, however much arrives: what is last waits behind "Show more". */
  function trim() {
    const nodes = list().children;
    if (!waiting || nodes.length <= room + SPARE) return;
    while (nodes.length > room && nodes[nodes.length - 1].dataset.id !== chosen) nodes[nodes.length - 1].remove();
    const last = nodes[nodes.length - 1].dataset;
    const url = new URL(location.href);
    url.searchParams.delete("open");
    url.searchParams.set("after", `${last.deadline}~${last.id}`);
    list().dataset.more = url.pathname + url.search;
    const more = document.querySelector("[data-more-link]");
    if (more) more.setAttribute("href", list().dataset.more);
    else $("list-foot").append(Object.assign(document.createElement("a"),
      { className: "btn small", href: list().dataset.more, textContent: "Show more" }));
    document.querySelector("#list-foot a").setAttribute("data-more-link", "");
  }

  function refill() {
    if (waiting && !loading && list().dataset.more && list().children.length < room / 2) loadMore();
  }

  function soon() { moment ||= setTimeout(settle, MOMENT); }

  /* Rows of one moment together: one look at the layout before, one after. */
  function settle() {
    moment = 0;
    const rowsNow = [...arrived.values()], left = gone;
    [arrived, gone, latest] = [new Map(), [], []];
    steady(() => {
      for (const node of left) node.remove();
      for (const told of rowsNow) take(told);
      trim();
    });
    const top = latest.length ? pane.getBoundingClientRect().top : 0;
    const hidden = latest.filter((node) => node.isConnected && node.getBoundingClientRect().bottom <= top + 8);
    if (hidden.length) tellAbove(above + hidden.length);
    emptiness();
    refill();
  }

  function take({ id, state, html, v }) {
    if (!learns(id, v)) return;
    if (waiting && state !== "pending") leave(id);
    else if (row(id) || (waiting && !inbox.dataset.q)) put(parse(html));
    if (openId() === id) refreshPanel(id, state);
  }

  document.addEventListener("live:row", (event) => {
    const told = event.detail;
    if (told.v >= (arrived.get(told.id)?.v ?? 0)) arrived.set(told.id, told);
    soon();
  });
  document.addEventListener("live:waiting", (event) => count(event.detail.n));

  /* The card that is open stays; only what is known about it changes, and never under somebody's hands. */
  const refreshPanel = inTurn((id, state) => {
    const panel = $("panel"), card = $("card");
    if (!panel || card.dataset.id !== id) return undefined;
    const busy = state === "pending" && panel.dataset.state === "pending" &&
      ($("edit-form") || formOpen() || panel.contains(document.activeElement));
    const what = busy ? "#panel-status" : "#panel";
    return load(`/actions/${id}/panel`, { target: what, select: what, swap: "outerHTML" });
  });

  async function fragment(address) {
    const answer = await fetch(address, { headers: { "HX-Request": "true" } });
    if (!answer.ok || answer.redirected) throw new Error(`list: ${answer.status}`);
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  }

  /* The next page, by hand or because most of this one has left. */
  async function loadMore({ byHand = false } = {}) {
    const address = list().dataset.more;
    loading ??= fragment(address).catch(() => null);
    const page = await loading;
    loading = null;
    if (!page || list().dataset.more !== address) {
      if (!page && byHand) location.assign(address);
      return;
    }
    const fresh = page.getElementById("rows");
    const news = [...fresh.children].filter((node) => !row(node.dataset.id) && learns(node.dataset.id, Number(node.dataset.v), { again: true }));
    if (byHand) room += fresh.children.length;
    list().dataset.more = fresh.dataset.more;
    list().append(...news);
    $("list-foot").replaceWith(page.getElementById("list-foot"));
    emptiness();
    tick(list());
  }

  /* After a gap that was too long: take over what is new, let go what is gone, and leave the rest where it is. */
  async function resync() {
    const url = new URL(location.href);
    url.searchParams.delete("open");
    url.searchParams.delete("after");
    const page = await fragment(url.pathname + url.search).catch(() => null);
    if (!page) return;
    const fresh = page.getElementById("rows");
    const last = fresh.lastElementChild;
    const ids = new Set([...fresh.children].map((node) => node.dataset.id));
    const known = (node) => !fresh.dataset.more || !waiting || (last && before(node, last));
    steady(() => {
      for (const node of rows()) if (!ids.has(node.dataset.id) && known(node) && waiting) leave(node.dataset.id);
      for (const node of [...fresh.children]) renew(node);
      trim();
    });
    if (fresh.dataset.cursor) list().dataset.cursor = fresh.dataset.cursor;
    emptiness();
    count(fresh.dataset.waiting);
    if (openId()) refreshPanel(openId(), row(openId()) ? "pending" : "decided");
  }

  function renew(node) {
    const { id, v, held } = node.dataset, old = row(id);
    if (!learns(id, Number(v), { again: !old || (old.dataset.v === v && old.dataset.held !== held) })) return;
    if (waiting || old) put(node, { quiet: true });
    else list().prepend(node);
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
  const WALKS = new Set(["j", "k"]), APART = new Set(["z", "/", "?"]);
  // A box that was ticked by hand keeps the focus, and takes no letters.
  const typing = (node) => node.closest("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]");
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.metaKey || event.ctrlKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.key === "Escape") {
      if (formOpen() || typing(event.target)) { closeForms(); event.target.blur?.(); }
      else if (matchMedia("(max-width: 760px)").matches) close();
      return;
    }
    if (typing(event.target)) return;
    if (!Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    // A key that is held walks the list, and does nothing else; none is about a card that is being exchanged.
    if (WALKS.has(event.key) || !(event.repeat || (detail.inert && !APART.has(event.key)))) keys[event.key]();
  });
  document.addEventListener("htmx:afterSettle", (event) => {
    if (event.target.id === "edit-slot") enter(event.target.querySelector("textarea"));
  });

  if (openId()) mark(openId());
  else if (matchMedia("(min-width: 761px)").matches && rows().length) select(rows()[0].dataset.id);
})();

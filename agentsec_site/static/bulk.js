/* Choosing many rows that are alike and deciding them together: keys, mouse and touch; what changed or left meanwhile is let go. */
"use strict";

(() => {
  const form = document.getElementById("bulk-pick");
  if (!form) return;
  const { load, toast, now } = window.agentsec;
  const { keys, select, openId, rows, row, say } = window.agentsec.inbox;
  const dialog = document.getElementById("bulk-dialog"), body = document.getElementById("bulk-body");
  const words = document.getElementById("bulk-words"), list = document.getElementById("list");
  const [approve, reject] = form.querySelectorAll("[name=verdict]");
  const MOST = Number(form.dataset.most);
  const OTHER = "Another tool or other rules than what is selected";
  const picked = new Map();  // id → digest that was picked
  let kind = "", anchor = "", last = null;

  const box = (node) => node?.querySelector(".tick input") ?? null;
  const current = () => list.querySelector(".row.is-chosen");
  const alike = (input) => !kind || input.dataset.alike === kind;

  /* ---- what is picked ---- */
  function check(node, on) {
    const input = box(node);
    if (input) input.checked = on;
    node?.classList.toggle("is-picked", on);
  }

  function enable(node) {
    const input = box(node);
    if (!input) return;
    const tick = input.closest(".tick");
    input.disabled = !alike(input);
    tick.classList.toggle("is-off", input.disabled);
    tick.title = input.disabled ? OTHER : "";
  }

  function show() {
    const alone = [...picked.keys()].map((id) => box(row(id))?.dataset.alone).filter(Boolean);
    const n = picked.size;
    form.hidden = n === 0;
    document.body.classList.toggle("has-picked", n > 0);
    approve.disabled = alone.length > 0;
    approve.title = alone[0] ?? "";
    words.textContent = alone.length ? `${n} selected. ${alone.length === n ? "To approve" : `To approve ${alone.length} of them`}: ${alone[0]}` : `${n} selected`;
  }

  function pick(node, on) {
    const input = box(node);
    if (!input) return false;
    if (on && !alike(input)) { toast(`${OTHER}.`, { slot: "bulk", seconds: 4 }); return false; }
    if (on && !picked.has(node.dataset.id) && picked.size >= MOST) { toast(`At most ${MOST} at once.`, { slot: "bulk", seconds: 4 }); return false; }
    check(node, on);
    if (on) picked.set(node.dataset.id, node.dataset.digest); else picked.delete(node.dataset.id);
    anchor = node.dataset.id;
    return true;
  }

  /* Which kind is picked says which rows may join. */
  function settle() {
    const before = kind;
    kind = box(row(picked.keys().next().value ?? ""))?.dataset.alike ?? "";
    if (kind !== before) for (const node of rows()) enable(node);
    show();
  }

  /* The bar takes its place from the list, and may lie where the row was. */
  const uncover = (node) => { if (picked.size === 1) node.scrollIntoView({ block: "nearest" }); };

  function toggle(node) {
    const input = box(node);
    if (!input) { say("This one cannot be selected"); return; }
    const on = !picked.has(node.dataset.id);
    if (pick(node, on)) say(on ? `Selected, ${picked.size} in all` : `No longer selected, ${picked.size} left`);
    settle();
    if (on) uncover(node);
  }

  function range(from, to) {
    const all = rows();
    const [a, b] = [all.findIndex((node) => node.dataset.id === from), all.indexOf(to)].sort((x, y) => x - y);
    const wanted = box(to).dataset.alike;
    for (const node of all.slice(Math.max(0, a), b + 1)) {
      if (box(node)?.dataset.alike === (kind || wanted) && !pick(node, true)) break;
    }
    settle();
  }

  function everyAlike() {
    const model = kind || box(current())?.dataset.alike;
    if (!model) return;
    for (const node of rows()) if (box(node)?.dataset.alike === model && !picked.has(node.dataset.id) && !pick(node, true)) break;
    settle();
    say(`${picked.size} selected`);
  }

  function clear() {
    for (const id of picked.keys()) check(row(id), false);
    picked.clear();
    settle();
  }

  /* Capturing, so that shift is seen before the box has changed. */
  list.addEventListener("click", (event) => {
    const input = event.target.closest(".tick input");
    if (!input) return;
    const node = input.closest(".row");
    if (event.shiftKey && anchor && anchor !== node.dataset.id && row(anchor)) range(anchor, node);
    else if (!pick(node, input.checked)) check(node, false);
    settle();
    if (input.checked) uncover(node);
  });
  form.addEventListener("click", (event) => {
    if (event.target.closest("[data-bulk-alike]")) everyAlike();
  });
  form.addEventListener("reset", (event) => { event.preventDefault(); clear(); });

  /* Rows are replaced when they change: a tick stays only on what is still the same. */
  new MutationObserver((changes) => {
    for (const { addedNodes } of changes) for (const node of addedNodes) if (node.matches?.(".row")) enable(node);
    let changed = 0;
    for (const [id, digest] of picked) {
      const node = row(id), input = box(node);
      if (input && node.dataset.digest === digest && !node.classList.contains("is-leaving")) { check(node, true); continue; }
      picked.delete(id);
      node?.classList.remove("is-picked");
      changed += input && node.dataset.digest !== digest ? 1 : 0;
    }
    if (changed) toast(`${changed} changed and ${changed > 1 ? "are" : "is"} no longer selected.`, { slot: "bulk" });
    if (picked.size || kind) settle();
  }).observe(list, { childList: true, subtree: true });

  /* ---- deciding ---- */
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const query = new URLSearchParams({ verdict: event.submitter?.value ?? "approve" });
    for (const id of picked.keys()) query.append("id", id);
    body.replaceChildren();
    /* A source of its own: htmx queues what one element asks for, and drops all but the last. */
    await load(`${form.getAttribute("action")}?${query}`, { source: "#bulk-body", target: "#bulk-body", swap: "innerHTML" });
    if (!body.childElementCount) return;
    dialog.showModal();
    body.querySelector("[autofocus]")?.focus();
  });

  dialog.addEventListener("click", (event) => {
    if (event.target.closest("[data-bulk-close]")) { event.preventDefault(); dialog.close(); }
    if (event.target.closest("[data-bulk-undo]")) undo();
  });

  document.addEventListener("agentsec:bulk", (event) => {
    const { bulk, message, refused, undoable, done, until } = event.detail;
    /* Counted from the first vote: deciding many takes its time too. */
    const left = until ? Date.parse(until) - now() : 0;
    last = undoable && left > 0 ? { bulk, until: now() + left } : null;
    if (refused) body.querySelector("h2")?.focus();
    else {
      dialog.close();
      toast(message, { slot: "decision", seconds: last ? left / 1000 : 4, action: last ? { label: "Undo", run: undo } : null });
    }
    clear();
    /* What is open and was decided makes room for what still waits. */
    if (done.includes(openId())) {
      const next = rows().find((node) => !done.includes(node.dataset.id));
      if (next && matchMedia("(min-width: 761px)").matches) select(next.dataset.id);
    }
    document.dispatchEvent(new CustomEvent("live:resync"));
  });
  document.addEventListener("agentsec:decided", () => { last = null; });

  function undo() {
    if (!last || now() > last.until) { dialog.close(); toast("Too late to undo.", { slot: "decision", danger: true }); return; }
    const values = { bulk: last.bulk };
    last = null;
    htmx.ajax("POST", `${form.getAttribute("action")}/undo`, { source: "#bulk-body", target: "#bulk-body", swap: "innerHTML", values })
      .then(() => { if (body.querySelector('[role="alert"]') && !dialog.open) dialog.showModal(); }).catch(() => undefined);
  }

  const one = keys.z;
  keys.z = () => (last && now() <= last.until ? undo() : one());
  keys.x = () => { const node = current(); if (node) toggle(node); };
  keys.X = everyAlike;
})();

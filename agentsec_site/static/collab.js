/* Reviewers together: who has taken an action and who looks along, questions to the agent, handing on, and reasons
 * by one key. On the inbox and on the page of one action. */
"use strict";

(() => {
  const { load, toast, csrf, enter } = window.agentsec;
  const inbox = window.agentsec.inbox;
  const BEAT = 20_000, SOON = 500;
  const $ = (id) => document.getElementById(id);
  const looks = new Map();  // action → the names of who looks at it
  let me = "", beating = "", soon = 0, reading = 0, sure = null, despite = null, rejected = false;

  /* ---- who looks along ---- */
  /* On a phone the list covers the card, which stays where it was. */
  const covered = () => $("inbox") && !document.body.classList.contains("is-open");
  const watched = () => !document.hidden && !covered() && $("panel")?.dataset.state === "pending" ? $("panel").dataset.id : "";
  const post = (id, more) => fetch(`/actions/${id}/look`, {
    method: "POST", headers: { "X-CSRFToken": csrf() }, ...more,
  }).catch(() => null);

  async function beat() {
    const id = watched();
    if (beating && beating !== id) post(beating, { keepalive: true, body: new URLSearchParams({ gone: "1" }) });
    beating = id;
    if (!id) return;
    const answer = await post(id);
    if (!answer?.ok || answer.redirected) return;
    const told = await answer.json();
    me = told.me;
    note(id, told.names);
  }

  /* Who only walks past a card is not worth a word. */
  const beatSoon = () => { clearTimeout(soon); soon = setTimeout(beat, SOON); };

  async function readAll() {
    const answer = await fetch("/looking").catch(() => null);
    if (!answer?.ok || answer.redirected) return;
    const told = await answer.json();
    me = told.me;
    const before = [...looks.keys()];
    looks.clear();
    for (const [id, names] of Object.entries(told.looking)) looks.set(id, names);
    for (const id of new Set([...before, ...looks.keys()])) draw(id);
    for (const row of document.querySelectorAll(".row[data-claim]:not([data-claim=''])")) mine(row);
  }

  function note(id, names) {
    if (names.length) looks.set(id, names); else looks.delete(id);
    draw(id);
  }

  const others = (id) => (looks.get(id) ?? []).filter((name) => name !== me);

  function sentence(names) {
    if (names.length === 1) return `${names[0]} is looking at this too`;
    if (names.length === 2) return `${names[0]} and 1 other are looking at this too`;
    return `${names[0]} and ${names.length - 1} others are looking at this too`;
  }

  function draw(id) {
    const names = others(id);
    const line = $("together")?.dataset.id === id ? $("looks") : null;
    if (line) {
      line.hidden = !names.length;
      line.textContent = names.length ? sentence(names) : "";
      line.title = names.join(", ");
    }
    const place = $(`row-${id}`)?.querySelector(".row-looks");
    if (!place) return;
    place.hidden = !names.length;
    place.title = names.length ? `looking: ${names.join(", ")}` : "";
    place.replaceChildren(...names.slice(0, 3).map((name) => part("who", name.slice(0, 2), true)));
    if (names.length > 3) place.append(part("who", `+${names.length - 3}`, true));
    if (names.length) place.append(part("sr", ` looking: ${names.join(", ")}`, false));
  }

  function part(look, text, hidden) {
    const node = Object.assign(document.createElement("span"), { className: look, textContent: text });
    if (hidden) node.setAttribute("aria-hidden", "true");
    return node;
  }

  document.addEventListener("live:looking", (event) => note(event.detail.id, event.detail.names));
  for (const name of ["live:open", "live:resync"]) {
    document.addEventListener(name, () => { clearTimeout(reading); reading = setTimeout(readAll, SOON); });
  }
  setInterval(beat, BEAT);
  document.addEventListener("visibilitychange", beat);
  addEventListener("pagehide", () => { if (beating) post(beating, { keepalive: true, body: new URLSearchParams({ gone: "1" }) }); });

  /* ---- rows: what everybody is told is the same, so what is one's own is marked here ---- */
  function mine(row) {
    const own = me && row.dataset.claim === me;
    const mark = row.querySelector(".row-claim");
    if (mark && own) { mark.textContent = "claimed by you"; mark.classList.add("is-mine"); }
    if (me && !own && $("inbox")?.dataset.show === "mine") row.remove();
  }
  if ($("rows")) {
    new MutationObserver((changes) => {
      for (const { addedNodes } of changes) {
        for (const row of addedNodes) {
          if (!row.dataset?.id) continue;
          if (looks.has(row.dataset.id)) draw(row.dataset.id);
          if (row.dataset.claim || $("inbox").dataset.show === "mine") mine(row);
        }
      }
    }).observe($("rows"), { childList: true });
  }

  /* ---- somebody else's claim: one confirmation ---- */
  function confirmed(question, yes, no) {
    const box = Object.assign(document.createElement("dialog"), { className: "dialog stack" });
    box.setAttribute("aria-labelledby", "claim-question");
    const buttons = Object.assign(document.createElement("form"), { method: "dialog", className: "cluster" });
    for (const [label, value, look] of [[yes, "yes", "btn primary"], [no, "no", "btn"]]) {
      buttons.append(Object.assign(document.createElement("button"), { className: look, value, textContent: label }));
    }
    box.append(Object.assign(document.createElement("h2"), { id: "claim-question", textContent: question }), buttons);
    document.body.append(box);
    box.showModal();
    return new Promise((settle) => box.addEventListener("close", () => { box.remove(); settle(box.returnValue === "yes"); }));
  }

  function since(at) {
    const minutes = Math.floor((window.agentsec.now() - Date.parse(at)) / 60_000);
    return minutes > 0 ? `${minutes} min ago` : "just now";
  }

  /* Before anybody else asks for something (a passkey, say); once it is confirmed the form is sent as ever. */
  document.addEventListener("htmx:confirm", async (event) => {
    const form = event.detail.elt, told = $("together")?.dataset;
    if (!(form instanceof HTMLFormElement) || !told?.claim || told.claim === told.me) return;
    const deciding = form.getAttribute("action").endsWith("/decide"), who = told.claim;
    if (!deciding && form.id !== "claim-form") return;
    if (sure === form) { sure = null; return; }
    event.preventDefault();
    event.stopImmediatePropagation();
    const what = deciding ? "Decide anyway" : "Take it over";
    if (!await confirmed(`${who} has claimed this ${since(told.claimedAt)}: ${what.toLowerCase()}?`, what, `Leave it to ${who}`)) return;
    if (!form.isConnected) { toast("It changed meanwhile: look again.", { slot: "decision", danger: true }); return; }
    [sure, despite] = [form, { path: form.getAttribute("action"), who }];
    form.requestSubmit();
  }, true);
  document.addEventListener("htmx:configRequest", (event) => {
    if (despite?.path !== event.detail.path || event.detail.verb !== "post") return;
    event.detail.parameters.despite_claim = despite.who;
    despite = null;
  });

  /* ---- asking and handing on ---- */
  function closeAsides() {
    for (const form of document.querySelectorAll("[data-aside]")) form.hidden = true;
    for (const opener of document.querySelectorAll("[data-aside-opens]")) opener.setAttribute("aria-expanded", "false");
  }

  function open(id) {
    const form = $(id), opener = document.querySelector(`[data-aside-opens="${id}"]`);
    if (!form) {
      if (opener?.title) toast(`${opener.title}.`, { slot: "decision" });
      return;
    }
    closeAsides();
    $("reject-form").hidden = true;
    $("edit-slot").replaceChildren();
    form.hidden = false;
    opener.setAttribute("aria-expanded", "true");
    enter(form.querySelector("textarea, select"));
  }

  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-aside-opens]");
    if (opener) open(opener.dataset.asideOpens);
    else if (event.target.closest("[data-shows], [data-hides]")) closeAsides();
    if (event.target.closest("[data-back]")) beatSoon();
    const reason = event.target.closest("[data-reason]");
    if (reason) choose(reason);
  });
  document.addEventListener("agentsec:said", (event) => toast(event.detail.message, { slot: "decision", seconds: 5 }));

  /* ---- reasons ---- */
  function choose(button) {
    const why = $("reject-why"), before = why.value.trim();
    why.value = before ? `${before} ${button.dataset.reason}` : button.dataset.reason;
    enter(why);
    why.setSelectionRange(why.value.length, why.value.length);
  }

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") closeAsides();
    const within = event.target.closest?.("#panel-actions form");
    if (!within || event.altKey) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); within.requestSubmit(); return; }
    if (event.ctrlKey || event.metaKey || event.target.id !== "reject-why" || event.target.value || !/^[1-9]$/.test(event.key)) return;
    const reason = within.querySelectorAll("[data-reason]")[Number(event.key) - 1];
    if (reason) { event.preventDefault(); choose(reason); }
  });

  /* ---- a panel that was on its way when somebody began to write takes no form away from under their hands ---- */
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { target, requestConfig, shouldSwap, xhr } = event.detail;
    if (target.id !== "panel" || requestConfig.verb !== "get" || !shouldSwap) return;
    const writing = document.querySelector("#edit-form, #reject-form:not([hidden]), [data-aside]:not([hidden])");
    if (!(writing || target.contains(document.activeElement)) || !xhr.responseText.includes(`data-state="${target.dataset.state}"`)) return;
    event.detail.shouldSwap = false;
    load(requestConfig.path, { target: "#panel-status", select: "#panel-status", swap: "outerHTML" });
  });

  /* ---- questions and answers: the panel tells how many there are, the card then shows them ---- */
  function settled() {
    const told = $("together")?.dataset, talk = $("talk");
    if (!told) return;
    if ($("panel").dataset.id !== beating) beatSoon();
    draw(told.id);
    if (!talk || talk.dataset.id !== told.id || talk.dataset.talk === told.talk) return;
    const [, answered] = told.talk.split(":"), [, before] = talk.dataset.talk.split(":");
    talk.dataset.talk = told.talk;
    load(`/actions/${told.id}/talk`, { target: "#talk", swap: "outerHTML" });
    if (Number(answered) > Number(before)) {
      toast("The agent answered.", { action: { label: "Show", run: () => $("talk").scrollIntoView({ block: "center" }) } });
    }
  }
  document.addEventListener("htmx:afterSettle", settled);
  settled();

  /* ---- keys, which only the inbox has ---- */
  if (!inbox) return;
  const { keys } = inbox, [undo, reject] = [keys.z, keys.r];
  document.addEventListener("agentsec:decided", (event) => { rejected = event.detail.effect === "rejected"; });
  keys.c = () => $("claim-form")?.requestSubmit();
  keys.q = () => open("ask-form");
  keys.d = () => open("delegate-form");
  keys.r = () => { closeAsides(); reject(); };
  keys.z = () => {
    if (!rejected) undo();
    else toast("A rejection cannot be taken back: the agent was told at once. It may propose the call again.", { slot: "decision" });
  };
})();

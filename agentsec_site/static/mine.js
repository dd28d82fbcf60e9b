/* The page of the person whom a session serves: looks again every few seconds while it is seen, and changes only
 * the cards that changed. A card in which somebody types is never taken from under their hands. */
"use strict";

(() => {
  const PAUSE = 3_000, LONGEST = 30_000;
  const title = document.title;
  const stale = document.getElementById("mine-stale");
  const { now, tick } = window.agentsec;
  let timer = 0, pause = PAUSE;

  const dirty = (card) => card.contains(document.activeElement) ||
    [...card.querySelectorAll("textarea, input:not([type=hidden], [type=radio])")].some((field) => field.value);

  function say(text) {
    stale.textContent = text;
    stale.hidden = !text;
  }

  function count(n) {
    document.title = n ? `(${n}) ${title}` : title;
  }

  function close(card) {
    if (card.dataset.closed) return;
    card.dataset.closed = "1";
    for (const button of card.querySelectorAll("button, input, textarea")) button.disabled = true;
    const note = document.createElement("p");
    note.className = "note is-warn";
    note.setAttribute("role", "alert");
    note.textContent = "This is not asked any more as it stands here: it was decided, changed or has expired.";
    card.querySelector(".card-body").prepend(note);
  }

  /* Cards of the page against those of the server: same digest stays, others come, go or are renewed. */
  function merge(fresh) {
    const list = document.getElementById("mine-asks");
    const wanted = new Map([...fresh.querySelectorAll(".mine-ask")].map((card) => [card.dataset.id, card]));
    let added = 0;
    for (const card of [...list.children]) {
      const other = wanted.get(card.dataset.id);
      if (other?.dataset.digest === card.dataset.digest && !card.dataset.closed) wanted.delete(card.dataset.id);
      else if (dirty(card)) { close(card); }
      else card.remove();
    }
    for (const card of wanted.values()) {
      list.append(document.adoptNode(card));
      added += 1;
    }
    const before = document.querySelector(".mine-past"), after = fresh.querySelector(".mine-past");
    if (before) before.remove();
    if (after) document.getElementById("mine").append(document.adoptNode(after));
    document.getElementById("mine-more").replaceWith(document.adoptNode(fresh.querySelector("#mine-more")));
    document.getElementById("mine").dataset.mark = fresh.dataset.mark;
    document.getElementById("mine-empty").hidden = list.children.length > 0;
    count(Number(fresh.dataset.waiting));
    if (added) document.getElementById("announcer").textContent = added === 1 ? "One new question waits for you." : `${added} new questions wait for you.`;
    tick();
  }

  async function look() {
    clearTimeout(timer);
    try {
      const mark = document.getElementById("mine").dataset.mark;
      const answer = await fetch(`/mine/asks?seen=${mark}`, { headers: { Accept: "text/html" }, redirect: "error" });
      if (answer.status === 401) {
        document.querySelectorAll(".mine-ask").forEach(close);
        say("Your link or sign-in has ended. Ask the application for a new link, or sign in again.");
        return;
      }
      if (answer.status === 200) merge(new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("mine"));
      if (!answer.ok) throw new Error(String(answer.status));
      say("");
      pause = PAUSE;
    } catch {
      pause = Math.min(pause * 2, LONGEST);
      say("The server cannot be reached. This page tries again by itself; until then it may be out of date.");
    }
    if (!document.hidden) timer = setTimeout(look, pause);
  }

  /* An undo that came too late is no button any more. */
  setInterval(() => {
    for (const form of document.querySelectorAll("form[data-until]")) if (Date.parse(form.dataset.until) <= now()) form.remove();
  }, 500);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
  count(Number(document.getElementById("mine").dataset.waiting));
  timer = setTimeout(look, PAUSE);
})();

/* What every page needs: CSRF for htmx, toasts, clocks, the theme, and a dialog opener. No inline handlers. */
"use strict";

(() => {
  const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content ?? "";
  const skew = Date.parse(meta("server-now")) - Date.now();
  const now = () => Date.now() + (Number.isFinite(skew) ? skew : 0);

  document.addEventListener("htmx:configRequest", (event) => {
    event.detail.headers["X-CSRFToken"] = meta("csrf-token");
  });

  /* A toast with a slot takes the place of the one before it in that slot. */
  function toast(text, { danger = false, seconds = 6, action = null, slot = "" } = {}) {
    if (slot) document.querySelector(`.toast[data-slot="${slot}"]`)?.remove();
    const box = document.createElement("div");
    box.className = danger ? "toast is-danger" : "toast";
    box.dataset.slot = slot;
    const words = document.createElement("span");
    words.textContent = text;
    box.append(words);
    if (action) {
      const button = document.createElement("button");
      button.className = "btn small";
      button.type = "button";
      button.textContent = action.label;
      button.addEventListener("click", () => { box.remove(); action.run(); });
      box.append(button);
    }
    document.getElementById("toasts").append(box);
    setTimeout(() => box.remove(), seconds * 1000);
    return box;
  }

  document.addEventListener("htmx:responseError", (event) => {
    const status = event.detail.xhr.status;
    toast(status === 403 ? "You may not do that. Reload to see what changed." :
      status === 404 ? "It is no longer there for you." : `The server answered ${status}. Nothing was changed.`,
    { danger: true });
  });
  document.addEventListener("htmx:sendError", () => toast("The server cannot be reached. Nothing was sent.", { danger: true }));

  /* Clocks: [data-countdown] shows the time left until datetime, [data-ago] the time since. */
  const unit = (n, word) => `${n} ${word}`;
  function span(ms) {
    const seconds = Math.max(0, Math.round(ms / 1000));
    if (seconds < 100) return unit(seconds, "s");
    const minutes = Math.round(seconds / 60);
    if (minutes < 100) return unit(minutes, "min");
    const hours = Math.round(minutes / 60);
    return hours < 48 ? unit(hours, "h") : unit(Math.round(hours / 24), "days");
  }
  const write = (node, text) => { if (node.textContent !== text) node.textContent = text; };
  function show(node) {
    if (!node.hasAttribute("data-countdown")) { write(node, `${span(now() - Date.parse(node.dateTime))} ago`); return; }
    const left = Date.parse(node.dateTime) - now();
    write(node, left > 0 ? `${span(left)} left` : "time is up");
    if (node.classList.contains("is-urgent") !== left < 60_000) node.classList.toggle("is-urgent");
  }

  /* Only clocks in sight go; one that comes into sight is set at once. A long list costs nothing. */
  const CLOCKS = "time[data-countdown], time[data-ago]";
  const going = new Set();
  const sight = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) {
      if (isIntersecting) { going.add(target); show(target); } else going.delete(target);
    }
  });
  function tick(root) {
    for (const node of (root instanceof Element ? root : document).querySelectorAll(CLOCKS)) { sight.observe(node); show(node); }
  }
  tick();
  setInterval(() => {
    for (const node of going) {
      if (node.isConnected) show(node); else { going.delete(node); sight.unobserve(node); }
    }
  }, 1000);
  document.addEventListener("htmx:afterSwap", tick);

  /* Theme: auto → light → dark, remembered in a cookie so that the server sends the right page at once. */
  const themes = ["auto", "light", "dark"];
  function setTheme(name) {
    document.documentElement.dataset.theme = name;
    document.cookie = `agentsec_theme=${name}; path=/; max-age=31536000; samesite=lax`;
    for (const node of document.querySelectorAll("[data-theme-name]")) node.textContent = name;
    for (const node of document.querySelectorAll("input[name=theme]")) node.checked = node.value === name;
  }
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-theme-next]")) {
      const at = themes.indexOf(document.documentElement.dataset.theme);
      setTheme(themes[(at + 1) % themes.length]);
    }
    const opener = event.target.closest("[data-opens]");
    if (opener) document.getElementById(opener.dataset.opens)?.showModal();
    const copier = event.target.closest("[data-copies]");
    if (copier) copy(document.getElementById(copier.dataset.copies));
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("input[name=theme]")) setTheme(event.target.value);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
  async function copy(node) {
    try {
      await navigator.clipboard.writeText(node.textContent.trim());
      toast("Copied.", { seconds: 2 });
    } catch {
      getSelection().selectAllChildren(node);
      toast("Selected: copy it with your keyboard.", { seconds: 4 });
    }
  }

  /* Sideways alone: the page itself stays where it is. */
  for (const here of document.querySelectorAll(':is(.nav, .rooms) [aria-current="page"]')) {
    const [link, row] = [here.getBoundingClientRect(), here.parentElement.getBoundingClientRect()];
    here.parentElement.scrollLeft += link.left + link.width / 2 - row.left - row.width / 2;
  }

  /* A fragment into the page. What goes wrong has had its toast by the events above.
     Each place waits in a queue of its own: in one for all, htmx forgets every request but the last. */
  const load = (address, where) => htmx.ajax("GET", address, { source: where.target, ...where }).catch(() => undefined);

  /* What is read again whenever something changed: one request at a time, each for what stands there by then, so that
     none is lost with the part that it was asked for; and none while a person's own answer is on its way.
     The end of a request is taken from itself: htmx tells it to the form, which may be gone by then. */
  let sending = 0, sent = 0;
  const waiting = [];
  document.addEventListener("htmx:beforeSend", ({ detail }) => {
    if (detail.requestConfig.verb === "get") return;
    sending += 1;
    sent += 1;
    detail.xhr.addEventListener("loadend", () => {
      sending -= 1;
      if (!sending) for (const go of waiting.splice(0)) go();
    });
  });
  const answered = () => new Promise((resolve) => { if (sending) waiting.push(resolve); else resolve(); });

  /* Asked for before the person answered, come afterwards: it would take away the form whose answer is awaited. */
  document.addEventListener("htmx:beforeSwap", ({ detail }) => {
    if (sending && detail.requestConfig.verb === "get" && detail.target.id === "panel") detail.shouldSwap = false;
  });

  /* What the card shows, said with each request: what decides is only ever offered for that. */
  document.addEventListener("htmx:configRequest", ({ detail }) => {
    const card = document.getElementById("card");
    if (card) detail.headers["X-Card-Digest"] = card.dataset.digest;
  });

  function inTurn(read) {
    let busy = false, wanted = null;
    return async (...asked) => {
      wanted = asked;
      if (busy) return;
      busy = true;
      try {
        while (wanted) {
          await answered();
          const now = wanted, before = sent;
          wanted = null;
          await read(...now);
          if (sent !== before) wanted ??= now;
        }
      } finally {
        busy = false;
      }
    };
  }

  /* Into a field of the bar below a card: what is read above it stays where it is. */
  function enter(field) {
    if (!field) return;
    field.focus({ preventScroll: true });
    const bar = field.closest(".panel");
    const hidden = bar ? field.getBoundingClientRect().bottom - bar.getBoundingClientRect().bottom : 0;
    if (hidden > 0) bar.scrollTop += hidden + 8;
  }

  window.agentsec = { load, inTurn, toast, tick, now, enter, csrf: () => meta("csrf-token") };
})();

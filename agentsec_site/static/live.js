/* The page's one socket: listens to the topics of <body data-live-topics>, comes back by itself, and says so
 * when it is away. What arrives is handed on as DOM events: live:row, live:changed, live:resync, live:open. */
"use strict";

(() => {
  const topics = document.body.dataset.liveTopics.split(/\s+/).filter(Boolean);
  if (!topics.length) return;
  const { toast } = window.agentsec;
  const state = document.getElementById("live-state");
  const banner = document.getElementById("banner");
  const SIGNED_OUT = 4401, CHANGED = 4409;
  const FIRST_PAUSE = 400, LONGEST_PAUSE = 15_000, PATIENCE = 2_500, BY_HAND = 10_000;
  let socket = null, pause = FIRST_PAUSE, opened = false, timer = 0, byHand = 0, complaint = 0;

  const emit = (name, detail = {}) => document.dispatchEvent(new CustomEvent(`live:${name}`, { detail }));

  function show(on, words) {
    state.hidden = false;
    state.dataset.live = on ? "on" : "off";
    state.firstElementChild.textContent = words;
  }

  function say(text, link = null) {
    banner.replaceChildren(text);
    if (link) banner.append(" ", Object.assign(document.createElement("a"), { href: link.href, textContent: link.text }));
    banner.hidden = !text;
  }

  /* While nothing is pushed the page reads by itself from time to time, so that it is late but not wrong. */
  function readByHand(on) {
    clearInterval(byHand);
    byHand = on ? setInterval(() => emit("resync"), BY_HAND) : 0;
  }

  function address() {
    const query = topics.map((topic) => `topic=${encodeURIComponent(topic)}`).join("&");
    return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/live?${query}`;
  }

  function connect() {
    clearTimeout(timer);
    socket = new WebSocket(address());
    socket.addEventListener("open", () => {
      pause = FIRST_PAUSE;
      clearTimeout(complaint);
      complaint = 0;
      show(true, "Live");
      say("");
      readByHand(false);
      emit(opened ? "resync" : "open");
      opened = true;
    });
    socket.addEventListener("message", (event) => receive(JSON.parse(event.data)));
    socket.addEventListener("close", (event) => closed(event.code));
  }

  function receive(message) {
    if (message.type === "push") {
      show(message.on, message.on ? "Live" : "Not live");
      say(message.on ? "" : "Live updates are interrupted on the server. This page reads again every 10 seconds; deciding works as ever.");
      readByHand(!message.on);
      if (message.on) emit("resync");
    } else {
      emit(message.type, message);
    }
  }

  function closed(code) {
    if (code === SIGNED_OUT) {
      show(false, "Signed out");
      say("You are signed out, or your password changed.", { href: "/sign-in", text: "Sign in again" });
      return;
    }
    if (code === CHANGED) toast("Your roles or groups changed: the page is read again.");
    // A short gap is not worth a word; a longer one is.
    if (!complaint) {
      complaint = setTimeout(() => {
        show(false, "Not live");
        say("The connection is lost. This page tries again by itself; until then it may be out of date.");
        readByHand(true);
      }, PATIENCE);
    }
    timer = setTimeout(connect, pause * (0.7 + Math.random() * 0.6));
    pause = Math.min(pause * 1.8, LONGEST_PAUSE);
  }

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && socket.readyState === WebSocket.CLOSED && state.textContent !== "Signed out") connect();
  });
  connect();
})();

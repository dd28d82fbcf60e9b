/* The page's one socket: listens to the topics of <body data-live-topics>, comes back by itself, and says so
 * when it is away. What arrives is handed on as DOM events: live:row, live:waiting, live:changed, live:resync, live:open.
 * A page with [data-cursor] names the last cursor that it was given whenever it comes back, and hears what it missed. */
"use strict";

(() => {
  const topics = document.body.dataset.liveTopics.split(/\s+/).filter(Boolean);
  if (!topics.length) return;
  const { toast } = window.agentsec;
  const state = document.getElementById("live-state");
  const banner = document.getElementById("banner");
  const SIGNED_OUT = 4401, CHANGED = 4409;
  const FIRST_PAUSE = 400, LONGEST_PAUSE = 15_000, PATIENCE = 2_500, BY_HAND = 10_000, BEAT = 5_000, SLEPT = 90_000;
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

  /* How far this page knows what happened. A later cursor knows at least as much. */
  let cursor = "";
  const reach = (text) => Number(text.split("-")[0]);
  function know(text) {
    if (text && (!cursor || reach(text) >= reach(cursor))) cursor = text;
  }

  /* What it knew was of other roles or groups: what is new to them did not change meanwhile, so nobody would tell it. */
  let anew = false;
  function forget() {
    anew = true;
    cursor = "";
    document.querySelector("[data-cursor]")?.removeAttribute("data-cursor");
  }

  function address() {
    if (!anew) know(document.querySelector("[data-cursor]")?.dataset.cursor ?? "");
    const asked = topics.map((topic) => `topic=${encodeURIComponent(topic)}`);
    const query = [...asked, ...(cursor ? [`since=${cursor}`] : [])].join("&");
    return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/live?${query}`;
  }

  function connect() {
    clearTimeout(timer);
    const mine = socket = new WebSocket(address());
    socket.addEventListener("open", () => {
      if (mine !== socket) return;
      pause = FIRST_PAUSE;
      clearTimeout(complaint);
      complaint = 0;
      show(true, "Live");
      say("");
      readByHand(false);
      // With a cursor the server tells what was missed; without one the page reads all of it again.
      emit(anew || (opened && !cursor) ? "resync" : "open");
      [opened, anew] = [true, false];
    });
    socket.addEventListener("message", (event) => { if (mine === socket) receive(JSON.parse(event.data)); });
    socket.addEventListener("close", (event) => { if (mine === socket) closed(event.code); });
  }

  function receive(message) {
    if (message.type === "push") {
      show(message.on, message.on ? "Live" : "Not live");
      say(message.on ? "" : "Live updates are interrupted on the server. This page reads again every 10 seconds; deciding works as ever.");
      readByHand(!message.on);
      if (message.on && !cursor) emit("resync");
    } else {
      know(message.cursor ?? "");
      emit(message.type, message);
    }
  }

  function closed(code) {
    if (code === SIGNED_OUT) {
      show(false, "Signed out");
      say("You are signed out, or your password changed.", { href: "/sign-in", text: "Sign in again" });
      return;
    }
    if (code === CHANGED) {
      forget();
      toast("What you may see or do changed: this page reads it again.");
    }
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

  /* A machine that slept holds a socket that nobody writes to any more, and does not notice: it dials again. */
  let beat = Date.now();
  setInterval(() => {
    const slept = Date.now() - beat > SLEPT;
    beat = Date.now();
    if (slept && state.textContent !== "Signed out") again();
  }, BEAT);
  window.addEventListener("online", again);

  function again() {
    const old = socket;
    if (old.readyState === WebSocket.CONNECTING || state.textContent === "Signed out") return;
    connect();
    old.close();
  }

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && socket.readyState === WebSocket.CLOSED && state.textContent !== "Signed out") connect();
  });
  connect();
})();

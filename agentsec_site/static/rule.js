/* The form of a rule: rows or CEL, the sentence, mistakes at their place. All of it is asked of the server. */
"use strict";

(() => {
  const byId = (id) => document.getElementById(id);
  const panel = byId("condition");
  const text = byId("id_when");
  if (!panel || !text) return;
  const desk = JSON.parse(byId("cond-desk").textContent);
  const form = text.form;
  const field = (name) => form.elements.namedItem(name);
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "";

  let view = "cel";
  let answer = null;       // the last that the server said
  let asked = 0;           // the number of the newest question
  let newest = Promise.resolve();
  let timer = null;
  let dirty = false;       // something was typed that the server has not seen
  let byHand = false;
  let suggestAgain = () => {};
  let kept = null;
  let turns = 0;           // how often somebody chose a tab, or wrote CEL: what is under way gives way to it

  /* ---- the panel takes the place of the plain field; the field itself moves into it */
  const holder = text.closest(".flex-container") ?? text.parentElement;
  holder.after(panel);
  const paper = panel.querySelector(".cond-paper");
  const marks = panel.querySelector(".cond-marks");
  paper.append(text);
  text.setAttribute("aria-describedby", `${text.getAttribute("aria-describedby") ?? ""} cond-keys cond-problems`.trim());
  panel.hidden = false;
  const rows = new window.agentsecRows(byId("cond-list"), desk, () => { dirty = true; later(); });

  function wish() {
    const given = Object.fromEntries(["effect", "agents", "tools", "approvers", "quorum", "expires_after", "escalate", "egress"].map((name) => [name, field(name)?.value ?? ""]));
    const ticks = { step_up: Boolean(field("step_up")?.checked), separate_duties: Boolean(field("separate_duties")?.checked), fallback: Boolean(field("fallback")?.checked) };
    const condition = view === "rows" && !byHand ? { rows: rows.wish() } : { when: text.value };
    return { ...given, ...ticks, zone, ...condition };
  }

  function ask() {
    clearTimeout(timer);
    timer = null;
    dirty = false;
    newest = question(++asked);
    return newest;
  }

  /* Until what stands in the form now has its answer, or the server gives none. */
  async function settled() {
    if (!answer) ask();
    do {
      if (dirty || timer) ask();
      await newest;
    } while (dirty || timer);
  }

  async function question(mine) {
    try {
      const reply = await fetch(panel.dataset.draft, {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-CSRFToken": field("csrfmiddlewaretoken").value },
        body: JSON.stringify(wish(), (name, value) => (name === "touched" ? undefined : value)),
      });
      if (reply.redirected) { trouble("You are signed out. Sign in again in another tab, then go on here."); return; }
      const said = await reply.json();
      if (mine !== asked) return;
      if (reply.ok) hear(said); else trouble(said.why ?? `The server answered ${reply.status}.`);
    } catch {
      if (mine === asked) trouble("The server cannot be reached, so nothing was checked.");
    }
  }

  function later() {
    clearTimeout(timer);
    timer = setTimeout(ask, 250);
  }

  function trouble(why) {
    answer = null;
    byId("cond-problems").replaceChildren(problem({ message: why, line: 0, column: 0 }));
  }

  function hear(said) {
    answer = said;
    rows.offer(said.subjects);
    rows.mistakes(said.row_problems);
    /* What the rows say unchanged stays as somebody wrote it. */
    if (view === "rows" && !byHand && said.when !== null) text.value = kept && said.when === kept.as ? kept.text : said.when;
    byId("cond-text").textContent = said.when === null ? "A row is not finished." : said.when || "(empty: always)";
    if (said.sentence) {
      const sentence = said.sentence[0].toUpperCase() + said.sentence.slice(1);
      const aloud = document.querySelector(".field-aloud .readonly");
      for (const place of [byId("cond-said"), aloud]) if (place && place.textContent !== sentence) place.textContent = sentence;
    }
    suggestAgain();
    concern(said.concerns, said.unknown);
    const warned = said.warnings.join(" ");
    if (unanswered.textContent !== warned) unanswered.textContent = warned;
    byId("cond-said").classList.toggle("is-old", !said.sentence);
    show(said.problems);
  }

  /* Which declared tools the names and patterns fit. */
  const note = Object.assign(document.createElement("div"), { id: "cond-concerns", className: "help" });
  note.setAttribute("role", "status");
  field("tools")?.closest(".flex-container")?.parentElement.append(note);

  /* Who is asked and cannot answer. */
  const unanswered = Object.assign(document.createElement("div"), { id: "cond-unanswered", className: "help is-none" });
  unanswered.setAttribute("role", "status");
  field("quorum")?.closest(".flex-container")?.parentElement.append(unanswered);

  function concern({ names, count }, unknown) {
    const given = (field("tools")?.value ?? "").trim() !== "";
    const strange = unknown.length ? `${given ? " None of them" : "No declared tool"} takes an argument ${unknown.join(" or ")}.` : "";
    note.classList.toggle("is-none", (given && count === 0) || strange !== "");
    note.textContent = !given ? strange : count === 0 ? "No declared tool has such a name." : `Fits ${names.join(", ")}${count > names.length ? ` and ${count - names.length} more` : ""}.${strange}`;
  }

  /* ---- mistakes at their place: marked in the text, and quoted with the line they stand on */
  function show(problems) {
    byId("cond-problems").replaceChildren(...problems.map(problem));
    text.setAttribute("aria-invalid", String(problems.length > 0));
    const spots = problems.filter((item) => item.line > 0).map((item) => spot(item)).sort((a, b) => a.from - b.from);
    marks.replaceChildren();
    let done = 0;
    for (const { from, to } of spots) {
      if (from < done) continue;
      const mark = document.createElement("mark");
      mark.textContent = text.value.slice(from, to) || " ";
      marks.append(text.value.slice(done, from), mark);
      done = Math.max(to, from);
    }
    marks.append(`${text.value.slice(done)}\n`);
    marks.scrollTop = text.scrollTop;
  }

  /* Lines and columns count signs from 1; texts here count UTF-16 units from 0. */
  function spot({ line, column }) {
    const lines = text.value.split("\n");
    const before = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
    const signs = Array.from(lines[line - 1] ?? "");
    let from = before + signs.slice(0, column - 1).join("").length;
    // A call or a field is at fault from its name on, though the bracket or the dot is what is told.
    if ("(.".includes(text.value[from] ?? " ")) from -= /[\w.]*$/.exec(text.value.slice(0, from))[0].length;
    const word = /^(?:[\w.]+|"[^"\n]*"?|'[^'\n]*'?|[^\s\w])/.exec(text.value.slice(from));
    return { from, to: from + (word ? word[0].length : 0) };
  }

  function problem(item) {
    const box = document.createElement("div");
    box.className = "cond-problem";
    const said = document.createElement("p");
    said.textContent = item.line ? `Line ${item.line}, column ${item.column}: ${item.message}` : item.message;
    box.append(said);
    if (!item.line) return box;
    const { from, to } = spot(item);
    const start = text.value.lastIndexOf("\n", from - 1) + 1;
    const line = text.value.slice(start).split("\n")[0];
    const quoted = document.createElement("pre");
    quoted.textContent = `${line}\n${" ".repeat(Array.from(text.value.slice(start, from)).length)}${"^".repeat(Math.max(1, to - from))}`;
    const go = document.createElement("button");
    Object.assign(go, { type: "button", className: "cond-link", textContent: "Go there" });
    go.addEventListener("click", () => { turn("cel"); text.focus(); text.setSelectionRange(from, to); });
    box.append(quoted, go);
    return box;
  }

  /* ---- tabs */
  const tabs = { rows: byId("cond-tab-rows"), cel: byId("cond-tab-cel") };
  const panes = { rows: byId("cond-rows"), cel: byId("cond-cel") };

  function turn(to) {
    view = to;
    for (const name of Object.keys(tabs)) {
      tabs[name].setAttribute("aria-selected", String(name === to));
      tabs[name].tabIndex = name === to ? 0 : -1;
      panes[name].hidden = name !== to;
    }
    if (to === "cel" && answer) show(answer.problems);
  }

  /* Rows are read anew from the CEL each time, so that the two never tell different things. */
  async function toRows() {
    const mine = ++turns;
    await settled();
    if (mine !== turns) return;
    byHand = !(answer && answer.rows);
    byId("cond-by-hand").hidden = !byHand;
    byId("cond-why").textContent = answer?.problems.length ? "The CEL has a mistake, so rows cannot show it." : "Written by hand: rows cannot show it.";
    panel.querySelector(".cond-sides").classList.toggle("is-by-hand", byHand);
    byId("cond-list").hidden = byHand;
    kept = byHand ? null : { text: text.value, as: answer.canonical };
    if (!byHand) rows.show(answer.rows);
    turn("rows");
  }

  /* A row that is not finished would be lost on the way to CEL. */
  async function toCel() {
    const mine = ++turns;
    if (view !== "rows" || byHand) { turn("cel"); return true; }
    await settled();
    if (mine !== turns) return false;
    if (!answer || answer.when === null) { rows.insist(answer?.row_problems ?? []); return false; }
    turn("cel");
    return true;
  }

  tabs.rows.addEventListener("click", () => { if (view !== "rows") toRows(); });
  tabs.cel.addEventListener("click", toCel);
  panel.querySelector("[role=tablist]").addEventListener("keydown", async (event) => {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    event.preventDefault();
    if (view === "rows") await toCel(); else await toRows();
    tabs[view].focus();
  });
  panel.querySelector("[data-see-cel]").addEventListener("click", () => { turn("cel"); text.focus(); });
  panel.querySelector("[data-anew]").addEventListener("click", () => {
    const put = text.value;
    window.agentsec.toast("The CEL was put aside.", { seconds: 30, slot: "cel", action: { label: "Bring it back", run: () => { text.value = put; turn("cel"); ask(); } } });
    byHand = false;
    kept = null;
    byId("cond-by-hand").hidden = true;
    byId("cond-list").hidden = false;
    panel.querySelector(".cond-sides").classList.remove("is-by-hand");
    rows.show({ join: "all", rows: [] });
    ask();
  });

  /* ---- suggestions in the CEL */
  const entry = ([insert, name, type, doc]) => ({ insert, name, type, doc });
  const call = ([name, shown, type, doc]) => ({ insert: `${name}()`, name: shown, type, doc });
  const starts = (word, items) => items.filter((item) => item.insert.toLowerCase().startsWith(word.toLowerCase()));

  function fields(holder) {
    const facts = desk.facts.filter(([name]) => name.startsWith(`${holder}.`)).map(([name, , type, doc]) => ({ insert: name.slice(holder.length + 1), name, type, doc }));
    if (facts.length) return facts;
    const declared = (answer?.subjects ?? []).filter((item) => /^args\.\w+(\.\w+)*$/.test(item.expression));
    if (/^(args|origin|authority)(\.|$)/.test(holder)) {
      const inner = holder.replace(/^(origin|authority)/, "args");
      const found = declared.filter((item) => item.expression.startsWith(`${inner}.`) && !item.expression.slice(inner.length + 1).includes("."));
      const named = found.map((item) => ({ insert: item.expression.slice(inner.length + 1), name: item.expression.replace(/^args/, holder.split(".")[0]), type: holder === inner ? item.kind : "where from", doc: item.doc }));
      if (named.length) return named;
    }
    return desk.methods.map(call);
  }

  function suggest(value, caret, wanted) {
    const before = value.slice(0, caret);
    const line = before.slice(before.lastIndexOf("\n") + 1).replace(/\\./g, "");
    if ((line.replace(/'[^']*'/g, "").match(/"/g) ?? []).length % 2) return null;
    const found = /((?:[A-Za-z_]\w*\.)*)([A-Za-z_]\w*)?$/.exec(before);
    const holder = found[1].slice(0, -1);
    const word = found[2] ?? "";
    const dotted = before.slice(0, before.length - word.length).endsWith(".");
    if (!dotted && !wanted) return null;
    const from = caret - word.length;
    if (dotted) return { from, items: starts(word, holder ? fields(holder) : desk.methods.map(call)) };
    return { from, items: starts(word, [...desk.facts.map(entry), ...desk.functions.map(call)]) };
  }

  suggestAgain = window.agentsecComplete(text, suggest, "Facts and functions");
  const names = (known) => (value, caret, wanted) => {
    const from = Math.max(value.lastIndexOf(",", caret - 1), value.lastIndexOf("\n", caret - 1)) + 1;
    const start = from + /^\s*/.exec(value.slice(from, caret))[0].length;
    const word = value.slice(start, caret);
    if (!word && !wanted) return null;
    const patterns = [...new Set(known.filter((name) => name.includes(".")).map((name) => `${name.split(".")[0]}.*`))];
    const items = [...known, ...patterns].filter((name) => name.toLowerCase().includes(word.toLowerCase()) && name !== word);
    return { from: start, items: items.map((name) => ({ insert: name, name, type: name.includes("*") ? "pattern" : "" })) };
  };
  for (const name of ["agents", "tools"]) {
    if (field(name)) window.agentsecComplete(field(name), names(desk[name]), `Known ${name}`);
  }

  /* ---- what is typed is checked; what asks nobody shows no approvers */
  text.addEventListener("input", () => { turns += 1; dirty = true; later(); });
  text.addEventListener("scroll", () => { marks.scrollTop = text.scrollTop; });
  for (const name of ["effect", "agents", "tools", "approvers", "quorum", "expires_after", "step_up", "separate_duties", "escalate", "egress", "fallback"]) {
    field(name)?.addEventListener("input", later);
  }
  const asks = document.querySelector(".field-approvers")?.closest("fieldset");
  const settle = () => { if (asks) asks.hidden = !["ask", ""].includes(field("effect")?.value ?? ""); };
  field("effect")?.addEventListener("change", settle);
  settle();

  /* Nothing is saved that the rows do not say: unfinished rows stop it, and an answer under way is waited for. */
  let sure = false;
  form.addEventListener("submit", async (event) => {
    if (sure || view !== "rows" || byHand || (!dirty && !timer && answer && answer.when !== null)) return;
    event.preventDefault();
    const button = event.submitter;
    await settled();
    if (!answer || answer.when === null) {
      if (answer) rows.insist(answer.row_problems);
      return;
    }
    sure = true;
    form.requestSubmit(button);
  });

  (async () => {
    await ask();
    // Whoever chose a tab, or began to write, while the server was slow is not moved away from it.
    if (turns) return;
    if (answer && (answer.rows || text.value.trim() === "")) await toRows(); else turn("cel");
  })();
})();

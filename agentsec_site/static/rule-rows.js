/* Conditions as rows. It holds what was chosen, never CEL: that is written by the server alone. */
"use strict";

(() => {
  const template = (id) => document.getElementById(id).content.firstElementChild.cloneNode(true);
  const isGroup = (item) => Array.isArray(item.rows);

  class Rows {
    /* `changed` is called when the condition is another one; `desk` is what the page came with. */
    constructor(root, desk, changed) {
      Object.assign(this, { root, desk, changed, subjects: [], known: new Map(), state: { join: "all", rows: [] } });
    }

    show(state) { this.state = state; this.draw(); }

    offer(subjects) {
      const before = JSON.stringify(this.subjects);
      if (before === JSON.stringify(subjects)) return;
      this.subjects = subjects;
      this.known = new Map(subjects.map((subject) => [subject.expression, subject]));
      this.draw();
    }

    wish() { return this.state; }

    flat() { return this.state.rows.flatMap((item) => (isGroup(item) ? item.rows : [item])); }

    /* Mistakes by the number of their row, each said at its row. */
    mistakes(problems) {
      const why = new Map(problems.map((problem) => [problem.row, problem.why]));
      this.root.querySelectorAll(".cond-row").forEach((line, index) => {
        const said = line.querySelector("[data-why]");
        const row = this.flat()[index];
        said.textContent = why.has(index) && row && row.touched ? why.get(index) : "";
        for (const input of line.querySelectorAll("[data-values] :is(input, select, textarea)")) {
          input.setAttribute("aria-invalid", String(said.textContent !== ""));
        }
      });
      return why;
    }

    /* Say every mistake, touched or not, and go to the first. */
    insist(problems) {
      for (const row of this.flat()) row.touched = true;
      this.mistakes(problems);
      const first = this.root.querySelectorAll(".cond-row")[problems[0]?.row ?? 0];
      first?.querySelector("[data-values] :is(input, select, textarea), [data-subject]")?.focus();
    }

    draw() {
      const here = document.activeElement;
      const place = this.root.contains(here) ? [...this.root.querySelectorAll("select, input, textarea, button")].indexOf(here) : -1;
      const caret = place >= 0 && "selectionStart" in here ? here.selectionStart : null;
      this.root.replaceChildren(this.group(this.state, null));
      const back = place >= 0 ? this.root.querySelectorAll("select, input, textarea, button")[place] : null;
      back?.focus();
      if (back && caret !== null) { try { back.setSelectionRange(caret, caret); } catch { /* not a text */ } }
    }

    again(focus) {
      this.draw();
      focus?.();
      this.changed();
    }

    group(group, parent) {
      const box = template("cond-group");
      // Before rows stand in it, which have buttons of the same kind.
      const [items, join, more, nest, remove] = ["[data-items]", "[data-join]", "[data-add-row]", "[data-add-group]", "[data-remove]"].map((name) => box.querySelector(name));
      join.value = group.join;
      join.addEventListener("change", () => {
        group.join = join.value;
        // A group within is joined the other way, or it would be no group.
        for (const item of group.rows) if (isGroup(item)) item.join = group.join === "all" ? "any" : "all";
        this.again();
      });
      if (parent) { join.disabled = true; box.classList.add("is-inner"); }
      items.append(...group.rows.map((item) => (isGroup(item) ? this.group(item, group) : this.row(item, group))));
      if (!group.rows.length) {
        const empty = document.createElement("p");
        empty.className = "cond-empty";
        empty.textContent = "No rows: the rule applies to every call of these tools by these agents.";
        items.append(empty);
      }
      const fresh = () => ({ subject: "", operator: "", values: [] });
      more.addEventListener("click", () => {
        group.rows.push(fresh());
        const number = this.flat().indexOf(group.rows.at(-1));
        this.again(() => this.root.querySelectorAll(".cond-row")[number]?.querySelector("[data-subject]").focus());
      });
      nest.hidden = parent !== null || group.rows.length === 0;
      nest.addEventListener("click", () => {
        group.rows.push({ join: group.join === "all" ? "any" : "all", rows: [fresh(), fresh()] });
        this.again();
      });
      remove.hidden = parent === null;
      remove.addEventListener("click", () => { parent.rows.splice(parent.rows.indexOf(group), 1); this.again(); });
      return box;
    }

    row(row, group) {
      const line = template("cond-row");
      const number = this.flat().indexOf(row) + 1;
      line.setAttribute("aria-label", `Row ${number}`);
      const subject = line.querySelector("[data-subject]");
      const operator = line.querySelector("[data-operator]");
      this.fillSubjects(subject, row);
      this.fillOperators(operator, row);
      this.fillValues(line.querySelector("[data-values]"), row);
      line.querySelector("[data-doc]").textContent = this.doc(row);
      subject.title = this.known.get(row.subject)?.doc ?? "";
      subject.addEventListener("change", () => {
        const fitting = this.known.get(subject.value)?.operators ?? [];
        row.subject = subject.value;
        if (!fitting.includes(row.operator)) row.operator = fitting[0] ?? "";
        delete row.guard; delete row.kind;
        Object.assign(row, { values: [], kept: false, touched: false });
        this.again();
      });
      operator.addEventListener("change", () => {
        const before = this.choices(row).join();
        row.operator = operator.value;
        const takes = this.takes(row);
        const many = takes === "many";
        row.values = takes === "none" || before !== this.choices(row).join() ? [] : row.values.slice(0, many ? 200 : 1);
        row.kept = false;
        this.again();
      });
      line.querySelector("[data-remove]").addEventListener("click", () => {
        group.rows.splice(group.rows.indexOf(row), 1);
        if (!group.rows.length && group !== this.state) this.state.rows.splice(this.state.rows.indexOf(group), 1);
        this.again(() => [...this.root.querySelectorAll("[data-add-row]")].at(-1).focus());
      });
      return line;
    }

    subject(row) {
      return this.known.get(row.subject) ?? { kind: row.kind ?? "any", choices: [], operators: [row.operator], label: row.subject };
    }

    takes(row) { return this.desk.operators[row.operator]?.values ?? "one"; }

    /* The values that there are, empty where any will do. */
    choices(row) {
      const own = this.desk.choices[row.operator];
      if (own) return own;
      const subject = this.subject(row);
      if (/^(size|domain|not_domain|host|not_host|only_at|not_only_at|contains|not_contains|starts|ends|not_s|not_e)/.test(row.operator)) return [];
      return subject.choices ?? [];
    }

    doc(row) {
      const strange = row.subject && !this.known.has(row.subject) ? "No tool of this rule declares it. " : "";
      const bare = row.subject.startsWith("args") && row.guard === "" ? "Written without has(): in a call that lacks it the condition fails, which asks or blocks, and never allows." : "";
      return strange + bare;
    }

    fillSubjects(select, row) {
      select.append(new Option("choose …", ""));
      const groups = new Map();
      for (const subject of this.subjects) {
        if (!groups.has(subject.group)) {
          const box = document.createElement("optgroup");
          box.label = subject.group;
          groups.set(subject.group, box);
        }
        groups.get(subject.group).append(new Option(subject.label, subject.expression));
      }
      select.append(...groups.values());
      if (row.subject && !this.known.has(row.subject)) select.append(new Option(row.subject, row.subject));
      select.value = row.subject;
    }

    fillOperators(select, row) {
      const fitting = [...new Set([...this.subject(row).operators, row.operator])].filter((name) => name in this.desk.operators);
      select.append(...fitting.map((name) => new Option(this.desk.operators[name].words, name)));
      select.value = row.operator;
      select.disabled = !row.subject;
    }

    fillValues(box, row) {
      const takes = this.takes(row);
      if (takes === "none" || !row.operator) return;
      const choices = this.choices(row);
      const shown = row.values.map((value) => this.shown(row, value));
      const set = (values) => {
        Object.assign(row, { values, kept: false, touched: true });
        this.changed();
      };
      const closed = choices.length > 0 && !row.subject.endsWith(".labels");
      if (closed && takes === "many") box.append(this.checks([...new Set([...choices, ...shown])], shown, set));
      else if (closed) box.append(this.pick([...new Set([...choices, ...shown])], shown, set));
      else box.append(...this.typed(row, takes, choices, shown, set));
    }

    /* A day travels as its number, and is shown by its name. */
    shown(row, value) {
      const days = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
      return this.subject(row).kind === "day" && typeof value === "number" ? days[value] : String(value);
    }

    checks(choices, chosen, set) {
      const box = document.createElement("div");
      box.className = "cond-checks";
      for (const name of choices) {
        const label = document.createElement("label");
        const tick = document.createElement("input");
        Object.assign(tick, { type: "checkbox", value: name, checked: chosen.includes(name) });
        tick.addEventListener("change", () => set([...box.querySelectorAll("input:checked")].map((one) => one.value)));
        label.append(tick, ` ${name}`);
        box.append(label);
      }
      return box;
    }

    pick(choices, chosen, set) {
      const select = document.createElement("select");
      select.setAttribute("aria-label", "Value");
      select.append(new Option("choose …", ""), ...choices.map((name) => new Option(name, name)));
      select.value = chosen[0] ?? "";
      select.addEventListener("change", () => set(select.value ? [select.value] : []));
      return select;
    }

    typed(row, takes, choices, shown, set) {
      const many = takes === "many";
      const { kind } = this.subject(row);
      const input = document.createElement(many ? "textarea" : "input");
      input.spellcheck = false;
      input.setAttribute("aria-label", many ? "Values, one a line" : "Value");
      if (many) Object.assign(input, { rows: Math.min(8, Math.max(2, shown.length + 1)), placeholder: "one a line" });
      else if (kind === "moment") Object.assign(input, { type: "datetime-local", step: 60 });
      else if (kind === "number" || kind === "whole" || row.operator.startsWith("size")) input.inputMode = "decimal";
      input.value = kind === "moment" ? (shown[0] ?? "").slice(0, 16) : shown.join("\n");
      const wasEmpty = shown.length === 1 && shown[0] === "";
      input.addEventListener("input", () => {
        const lines = many ? input.value.split("\n").map((line) => line.trim()).filter(Boolean) : [input.value];
        set(!many && input.value === "" && !wasEmpty ? [] : lines);
      });
      if (!choices.length) return [input];
      const list = document.createElement("datalist");
      list.id = `choices-${this.flat().indexOf(row)}`;
      list.append(...choices.map((name) => new Option(name)));
      input.setAttribute("list", list.id);
      return [input, list];
    }
  }

  window.agentsecRows = Rows;
})();

/* Suggestions under a field while somebody types: a listbox that the field owns, worked by keyboard. */
"use strict";

(() => {
  let count = 0;

  /* `suggest(text, caret, asked)` gives {from, items: [{insert, name, type, doc}]} or null; `asked` is true for
   * Ctrl-Space. What is chosen takes the place of the text between `from` and the caret. Gives a function to call
   * when there may be more to suggest: whoever has typed on before the server told it is shown it then. */
  function complete(field, suggest, label) {
    const list = document.createElement("ul");
    list.className = "cond-list";
    list.id = `suggestions-${++count}`;
    list.hidden = true;
    list.setAttribute("role", "listbox");
    list.setAttribute("aria-label", label);
    const heard = document.createElement("span");
    heard.className = "sr";
    heard.setAttribute("role", "status");
    const frame = document.createElement("div");
    frame.className = "cond-frame";
    field.before(frame);
    frame.append(field, list, heard);
    field.setAttribute("aria-autocomplete", "list");
    field.setAttribute("aria-controls", list.id);
    field.setAttribute("autocomplete", "off");

    let found = null;
    let at = 0;
    let typing = false;    // nothing but typing since the list was last looked for

    function close() {
      found = null;
      list.hidden = true;
      list.replaceChildren();
      field.removeAttribute("aria-activedescendant");
    }

    function mark(next) {
      at = (next + found.items.length) % found.items.length;
      [...list.children].forEach((item, index) => item.setAttribute("aria-selected", String(index === at)));
      field.setAttribute("aria-activedescendant", list.children[at].id);
      list.children[at].scrollIntoView({ block: "nearest" });
    }

    function take(index) {
      const chosen = found.items[index];
      const { from } = found;
      typing = false;
      close();
      field.focus();
      field.setRangeText(chosen.insert, from, field.selectionStart, "end");
      if (chosen.insert.endsWith("()")) field.setSelectionRange(field.selectionStart - 1, field.selectionStart - 1);
      field.dispatchEvent(new Event("input", { bubbles: true }));
    }

    function option(item, index) {
      const line = document.createElement("li");
      line.id = `${list.id}-${index}`;
      line.setAttribute("role", "option");
      for (const [part, text] of [["name", item.name], ["type", item.type], ["doc", item.doc]]) {
        if (!text) continue;
        const word = document.createElement("span");
        word.className = `cond-${part}`;
        word.textContent = text;
        line.append(word);
      }
      line.addEventListener("mousedown", (event) => { event.preventDefault(); take(index); });
      return line;
    }

    function open(asked) {
      found = suggest(field.value, field.selectionStart, asked);
      if (!found || !found.items.length) {
        if (asked) heard.textContent = "No suggestions.";
        return close();
      }
      found.items = found.items.slice(0, 60);
      list.replaceChildren(...found.items.map(option));
      list.hidden = false;
      heard.textContent = `${found.items.length} suggestions.`;
      return mark(0);
    }

    function leave() { typing = false; close(); }

    field.addEventListener("input", (event) => {
      typing = event.isTrusted;
      if (typing || !list.hidden) open(false);
    });
    field.addEventListener("blur", leave);
    field.addEventListener("click", leave);
    field.addEventListener("keydown", (event) => {
      if (event.ctrlKey && event.code === "Space") { event.preventDefault(); open(true); return; }
      if (list.hidden) return;
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step) { event.preventDefault(); typing = false; mark(at + step); }
      else if (event.key === "Enter" || (event.key === "Tab" && !event.shiftKey)) { event.preventDefault(); take(at); }
      else if (event.key === "Escape") { event.preventDefault(); event.stopPropagation(); leave(); }
      else if (["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) leave();
    });

    return () => { if (typing && document.activeElement === field) open(false); };
  }

  window.agentsecComplete = complete;
})();

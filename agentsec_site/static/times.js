/* Moments in the reader's own zone. The server writes UTC; each <time data-time="style"> is rewritten here, also in
 * what arrives later, and its title tells both zones to the second. */
"use strict";

(() => {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
  const format = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: zone, hourCycle: "h23", ...options });
  const parts = format({
    year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short",
  });
  const utc = new Intl.DateTimeFormat("en-GB", {
    timeZone: "UTC", hourCycle: "h23", year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit",
  });
  const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const read = (formatter, at) => Object.fromEntries(formatter.formatToParts(at).map(({ type, value }) => [type, value]));
  /* "Sept" is how some browsers shorten it in en-GB. */
  const month = (said) => said.slice(0, 3);
  const number = (said) => String(months.indexOf(month(said)) + 1).padStart(2, "0");
  const styles = {
    second: (p) => `${p.day} ${month(p.month)} ${p.year} ${p.hour}:${p.minute}:${p.second}`,
    minute: (p) => `${p.day} ${month(p.month)} ${p.year} ${p.hour}:${p.minute}`,
    day: (p) => `${p.day} ${month(p.month)} ${p.year}`,
    short: (p) => `${p.day} ${month(p.month)} ${p.hour}:${p.minute}`,
    date: (p) => `${p.day} ${month(p.month)}`,
    clock: (p) => `${p.hour}:${p.minute}:${p.second}`,
    hour: (p) => `${p.hour}:${p.minute}`,
    log: (p) => `${number(p.month)}-${p.day.padStart(2, "0")} ${p.hour}:${p.minute}:${p.second}`,
    iso: (p) => `${p.year}-${number(p.month)}-${p.day.padStart(2, "0")} ${p.hour}:${p.minute}:${p.second}`,
  };

  function tell(node) {
    const at = new Date(node.dateTime);
    if (Number.isNaN(at.getTime())) return;
    const here = read(parts, at);
    const exact = `${styles.second(here)} ${here.timeZoneName}`;
    const there = `${styles.second(read(utc, at))} UTC`;
    const before = node.hasAttribute("data-countdown") ? "until " : "";
    node.title = before + (here.timeZoneName === "UTC" ? there : `${exact}, which is ${there}`);
    const style = node.dataset.time;
    if (style === "fine") {
      const fraction = /\.\d+/.exec(node.dateTime)?.[0] ?? "";
      node.textContent = `${styles.iso(here)}${fraction} ${here.timeZoneName}`;
    } else if (styles[style]) {
      const says = here.timeZoneName === "UTC" && ["second", "minute", "short"].includes(style);
      node.textContent = styles[style](here) + (says ? " UTC" : "");
    }
    node.dataset.told = "";
  }

  /* Where the reader's zone is UTC, a moment says so; in columns, the title does. */
  const SELECTOR = "time[data-time]:not([data-told])";
  function all(root) {
    if (root.matches?.(SELECTOR)) tell(root);
    for (const node of root.querySelectorAll?.(SELECTOR) ?? []) tell(node);
  }
  all(document);
  /* Only what was added is looked at, so a row that arrives costs the same in a list of any length. */
  new MutationObserver((changes) => {
    for (const change of changes) for (const node of change.addedNodes) all(node);
  }).observe(document.body, { childList: true, subtree: true });
})();

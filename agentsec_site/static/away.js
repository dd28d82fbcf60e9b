/* Times of an absence in the reader's own zone; without this script they are in UTC. */
"use strict";

(() => {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "";
  const form = document.querySelector("form[data-away]");
  if (!form) return;
  for (const place of form.querySelectorAll("[data-zone]")) place.textContent = zone ? `(${zone})` : "(your time)";
  form.addEventListener("submit", () => {
    for (const name of ["since", "until"]) {
      const field = form.elements.namedItem(name);
      const exact = form.elements.namedItem(`${name}_exact`) ?? form.appendChild(Object.assign(document.createElement("input"), { type: "hidden", name: `${name}_exact` }));
      exact.value = field.value ? new Date(field.value).toISOString() : "";
    }
  });
})();

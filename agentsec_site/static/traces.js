/* The trace explorer and the firewall page: "/" finds the search, an address with #entry-… or #action-… opens it,
 * facets start closed on a phone, examples fill the form. All of it works without this file, by links and forms. */
"use strict";

(() => {
  const typing = (node) => node.closest("input, textarea, select, [contenteditable]");

  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    const field = document.querySelector("[data-search]");
    if (!field) return;
    event.preventDefault();
    field.select();
    field.focus();
  });

  function reveal() {
    const wanted = decodeURIComponent(location.hash.slice(1));
    const details = wanted && document.getElementById(wanted)?.querySelector("details");
    if (!details) return;
    details.open = true;
    details.querySelector("summary").focus({ preventScroll: true });
    details.scrollIntoView({ block: "start" });
  }
  window.addEventListener("hashchange", reveal);
  window.addEventListener("load", reveal);

  const facets = document.querySelector("[data-facets]");
  if (facets && window.matchMedia("(max-width: 760px)").matches) facets.open = false;

  document.addEventListener("click", (event) => {
    const example = event.target.closest("[data-example]");
    if (!example) return;
    const form = document.getElementById("try");
    form.elements.text.value = example.dataset.example;
    form.elements.direction.value = example.dataset.direction;
    form.requestSubmit();
  });
})();

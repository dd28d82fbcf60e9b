// Quiet hours are by the wall clock: offer the browser's own time zone where none was chosen yet.
(() => {
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (!own) return;
  for (const field of document.querySelectorAll('input[name="zone"]')) {
    if (field.value !== "UTC" || own === "UTC") continue;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "btn small";
    button.textContent = `Use ${own}`;
    button.addEventListener("click", () => { field.value = own; button.remove(); });
    field.parentElement.after(button);
  }
  // A link to one of them opens it.
  const named = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
  if (named && named.tagName === "DETAILS") named.open = true;
})();

/* The access review: choose what is proposed in one go, and open what a form complains about. */
"use strict";
for (const button of document.querySelectorAll("[data-all-proposed]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    for (const choice of document.querySelectorAll("input[data-proposed]")) choice.checked = true;
  });
}
// A field within a closed <details> could not be focused, and the form would seem to do nothing.
document.addEventListener("invalid", (event) => event.target.closest("details")?.setAttribute("open", ""), true);

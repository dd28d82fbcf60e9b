/* Passkeys: making one, signing in with one, and signing an approval. The server says what is to be signed. */
"use strict";

(() => {
  const { toast, csrf } = window.agentsec;
  const busy = new WeakSet();

  const bytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0));
  const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
  const named = (list = []) => list.map((one) => ({ ...one, id: bytes(one.id) }));

  function whole(credential, response) {
    return JSON.stringify({
      id: credential.id, rawId: text(credential.rawId), type: credential.type, response,
      clientExtensionResults: credential.getClientExtensionResults(),
    });
  }

  async function create({ publicKey: wish }) {
    const made = await navigator.credentials.create({ publicKey: {
      ...wish, challenge: bytes(wish.challenge), user: { ...wish.user, id: bytes(wish.user.id) },
      excludeCredentials: named(wish.excludeCredentials),
    } });
    return whole(made, {
      clientDataJSON: text(made.response.clientDataJSON), attestationObject: text(made.response.attestationObject),
      transports: made.response.getTransports?.() ?? [],
    });
  }

  async function get({ publicKey: wish }) {
    const shown = await navigator.credentials.get({ publicKey: {
      ...wish, challenge: bytes(wish.challenge), allowCredentials: named(wish.allowCredentials),
    } });
    const { clientDataJSON, authenticatorData, signature, userHandle } = shown.response;
    return whole(shown, {
      clientDataJSON: text(clientDataJSON), authenticatorData: text(authenticatorData), signature: text(signature),
      userHandle: userHandle?.byteLength ? text(userHandle) : null,
    });
  }

  const reasons = {
    NotAllowedError: "The passkey was not used: cancelled, or it took too long.",
    InvalidStateError: "This device holds a passkey for your account already.",
    SecurityError: "Passkeys belong to one address of this site, and this page was opened at another.",
    NotSupportedError: "This device has no kind of passkey that can be used here.",
  };

  function complain(error) {
    const why = error.told ?? reasons[error.name] ?? "The passkey could not be used.";
    toast(why, { slot: "passkey", danger: true, seconds: 8 });
  }

  const refusal = (told) => Object.assign(new Error(told), { told });

  /* What the server wants signed, for the form as it is filled in now. */
  async function wanted(address, form) {
    const answer = await fetch(address, {
      method: "POST", body: new FormData(form), headers: { "X-CSRFToken": csrf(), Accept: "application/json" },
    }).catch(() => { throw refusal("The server cannot be reached. Nothing was sent."); });
    if (answer.redirected || !answer.headers.get("Content-Type")?.startsWith("application/json")) {
      throw refusal("You are signed out, or may not do that. Reload the page.");
    }
    const wish = await answer.json();
    if (answer.ok && wish.publicKey && !window.PublicKeyCredential) throw refusal("This browser, or this address, has no passkeys.");
    return { ok: answer.ok, ...wish };
  }

  async function once(form, run) {
    if (busy.has(form)) return;
    busy.add(form);
    try { await run(); } catch (error) { complain(error); } finally { busy.delete(form); }
  }

  /* Forms of htmx with a field to sign: an approval. A refusal is left to the form's own answer, which says why. */
  document.addEventListener("htmx:confirm", (event) => {
    const form = event.detail.elt, field = form instanceof HTMLFormElement && form.querySelector("input[data-signs]");
    if (!field) return;
    event.preventDefault();
    once(form, async () => {
      field.value = "";
      /* A panel that is being used is not exchanged by what happens meanwhile. */
      form.querySelector('button[type="submit"]')?.focus();
      const wish = await wanted(field.dataset.signs, form);
      if (wish.ok && wish.publicKey) field.value = await get(wish);
      event.detail.issueRequest(true);
    });
  });

  /* A panel that was asked for before somebody began to sign does not take the form from under the signature. */
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { target, requestConfig } = event.detail;
    if (target.id !== "panel" || requestConfig.verb !== "get") return;
    if ([...target.querySelectorAll("form")].some((form) => busy.has(form))) event.detail.shouldSwap = false;
  });

  /* Plain forms: making a passkey, signing in with one. */
  document.addEventListener("submit", (event) => {
    const form = event.target, field = form.querySelector("input[data-passkey]");
    if (!field || field.value) return;
    event.preventDefault();
    once(form, async () => {
      const wish = await wanted(field.dataset.options, form);
      if (!wish.ok) throw refusal(wish.why);
      field.value = await (field.dataset.passkey === "create" ? create(wish) : get(wish));
      form.submit();
    });
  });

  /* A second way in beside a form that Enter sends. */
  document.addEventListener("click", (event) => event.target.closest("[data-submits]")?.form.requestSubmit());

  /* Coming back by the browser's button must not send an old answer again. */
  window.addEventListener("pageshow", () => {
    for (const field of document.querySelectorAll("input[data-passkey], input[data-signs]")) field.value = "";
  });
})();

// What surrounds each page: the header, and toasts.
import { dismiss, toasts } from "../announce.js";
import { may, session, signOut } from "../api.js";
import { toast } from "../announce.js";
import { rate } from "../format.js";
import { html } from "../lib.js";
import { connection } from "../live.js";
import { dialog } from "../keys.js";
import { totals } from "../store.js";

const STATES = { connecting: "connecting", live: "live", lost: "disconnected" };

export function Header({ address }) {
  const link = (hash, text) => html`<a href=${hash} aria-current=${isAt(address, hash) ? "page" : undefined}>${text}</a>`;
  const speed = totals.value?.bytes_per_second;
  return html`<header class="top">
    <h1><a href="#/">SEEN</a></h1>
    <nav aria-label="Pages">${link("#/", "Downloads")} ${link("#/health", "Health")}
      ${may("admin") && link("#/admin", "Admin")}</nav>
    <span class="rate" title="All downloads that you see">${speed === null || speed === undefined ? "" : rate(speed)}</span>
    <span class="connection ${connection.value}">${STATES[connection.value]}</span>
    <button type="button" onClick=${() => (dialog.value = "limits")}>Limits</button>
    <button type="button" aria-label="Keys" title="Keys (?)" onClick=${() => (dialog.value = "help")}>?</button>
    <details class="user"><summary>${session.value.user_id}</summary><div>
      <p>${session.value.role}</p>
      <button type="button" onClick=${() => leave(false)}>Sign out</button>
      <button type="button" onClick=${() => leave(true)}>Sign out everywhere</button></div></details>
  </header>`;
}

function isAt(address, hash) {
  return hash === "#/" ? !/^#\/(health|admin)/.test(address) : address.startsWith(hash);
}

async function leave(everywhere) {
  try {
    await signOut(everywhere);
  } catch (problem) {
    toast(problem.message, { tone: "bad" });
  }
}

export function Toasts() {
  return html`<div class="toasts" role="status">${toasts.value.map((one) => html`<p key=${one.id} class="toast ${one.tone}">
    <span>${one.text}</span>
    ${one.undo && html`<button type="button" onClick=${one.undo}>Undo</button>`}
    ${!one.undo && html`<button type="button" aria-label="Dismiss" onClick=${() => dismiss(one.id)}>✕</button>`}</p>`)}</div>`;
}

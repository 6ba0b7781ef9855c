// The start: reads who has signed in, follows changes, and draws what the address says.
import { spoken, say } from "./announce.js";
import { readSession, session } from "./api.js";
import { html, effect, render, signal, useEffect, useState } from "./lib.js";
import { reload } from "./list.js";
import { connection, lostReason } from "./live.js";
import { dialog, handleKey } from "./keys.js";
import { start, stop } from "./store.js";
import { Add } from "./views/add.js";
import { Admin } from "./views/admin.js";
import { Header, Toasts } from "./views/frame.js";
import { Health } from "./views/health.js";
import { Help } from "./views/help.js";
import { JobPage } from "./views/job.js";
import { Limits } from "./views/limits.js";
import { ListView } from "./views/list.js";
import { OtherSession, SignIn, tokenOfAddress } from "./views/signin.js";

const address = signal(location.hash);
const linkToken = signal(tokenOfAddress());
const unreachable = signal("");
const dropped = signal("");

const PAGES = [
  [/^#\/job\/([0-9a-f-]{36})$/, (id) => html`<${JobPage} key=${id} id=${id} />`],
  [/^#\/health$/, () => html`<${Health} />`],
  [/^#\/admin$/, () => html`<${Admin} />`],
];

function page() {
  for (const [pattern, draw] of PAGES) {
    const match = pattern.exec(address.value);
    if (match) return draw(match[1]);
  }
  return html`<${ListView} />`;
}

function App() {
  if (session.value === null) return html`<${Starting} />`;
  if (linkToken.value && session.value) {
    return html`<${OtherSession} token=${linkToken.value} onDone=${() => (linkToken.value = null)} />`;
  }
  if (!session.value) return html`<${SignIn} token=${linkToken.value} onTaken=${() => (linkToken.value = null)} />`;
  return html`<${Header} address=${address.value} />
    ${connection.value === "lost" && html`<p class="notice warn lost">Disconnected: what is shown may be old.${" "}
      ${lostReason.value} It connects again by itself.</p>`}
    <main>${page()}</main>
    ${dialog.value === "add" && html`<${Add} text=${dropped.value} />`}
    ${dialog.value === "help" && html`<${Help} />`}
    ${dialog.value === "limits" && html`<${Limits} />`}
    <${Toasts} />`;
}

function Starting() {
  const [isSlow, setSlow] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setSlow(true), 1_000);
    return () => clearTimeout(timer);
  }, []);
  return html`<main class="sign-in"><h1>SEEN downloads</h1>
    ${unreachable.value ? html`<p class="notice bad" role="alert">${unreachable.value}</p>` : isSlow && html`<p>Loading…</p>`}</main>`;
}

function Root() {
  return html`<${App} /><div class="unseen" role="status" aria-live="polite">${spoken.value}</div>`;
}

// ── events of the window ────────────────────────────────────────────────────────────────────────

window.addEventListener("hashchange", () => {
  linkToken.value = tokenOfAddress() ?? linkToken.value;
  address.value = location.hash;
  dialog.value = "";
});
window.addEventListener("keydown", (event) => {
  const isList = !PAGES.some(([pattern]) => pattern.test(address.value));
  if (session.value) handleKey(event, isList);
});
window.addEventListener("dragover", (event) => event.preventDefault());
window.addEventListener("drop", async (event) => {
  event.preventDefault();
  if (!session.value) return;
  const { files } = event.dataTransfer;
  const texts = files.length ? await Promise.all([...files].map((file) => file.text())) : [linksOf(event.dataTransfer)];
  open(texts.join("\n").trim());
});
// A list that is pasted beside the fields.
window.addEventListener("paste", (event) => {
  const isField = event.target.closest?.("input, textarea, select, dialog");
  const text = event.clipboardData.getData("text").trim();
  if (session.value && !isField && /^[a-z]+:\/\//i.test(text)) open(text);
});
function linksOf(data) {
  return data.getData("text/uri-list") || data.getData("text/plain");
}

function open(text) {
  dropped.value = text;
  dialog.value = "add";
}

effect(() => {
  if (!dialog.value) dropped.value = "";
});

// ── signing in and out, and the connection ──────────────────────────────────────────────────────

let isStarted = false;
effect(() => {
  const isSignedIn = Boolean(session.value);
  if (isSignedIn === isStarted) return;
  isStarted = isSignedIn;
  if (!isSignedIn) {
    stop();
    dialog.value = "";
    return;
  }
  start();
  reload();
});

let wasLost = false;
effect(() => {
  if (connection.value === "lost" && !wasLost) say("Disconnected from the service.");
  if (connection.value === "live" && wasLost) say("Connected again.");
  if (connection.value !== "connecting") wasLost = connection.value === "lost";
});

const RETRY = 3_000;
async function begin() {
  try {
    await readSession();
  } catch (problem) {
    unreachable.value = `${problem.message} Trying again.`;
    setTimeout(begin, RETRY);
  }
}

const root = document.getElementById("app");
root.replaceChildren();
render(html`<${Root} />`, root);
begin();

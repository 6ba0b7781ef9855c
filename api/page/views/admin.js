// For admins: users, keys, and deliveries of webhooks.
import { toast } from "../announce.js";
import { call, may } from "../api.js";
import { moment } from "../format.js";
import { html, useEffect, useState } from "../lib.js";
import { Moment, Problems } from "./parts.js";

export function Admin() {
  const [secret, setSecret] = useState(null);
  const [reading, setReading] = useState(0);
  const again = () => setReading((number) => number + 1);
  if (!may("admin")) return html`<section class="page"><p>This is for admins.</p></section>`;
  return html`<section class="page" aria-label="Admin"><h2>Admin</h2>
    ${secret && html`<${Secret} ...${secret} onClose=${() => setSecret(null)} />`}
    <${Users} key=${`users${reading}`} again=${again} setSecret=${setSecret} />
    <${Keys} key=${`keys${reading}`} again=${again} setSecret=${setSecret} />
    <${Deliveries} />
  </section>`;
}

// A secret is shown once; it is in no other answer.
function Secret({ title, text, onClose }) {
  return html`<div class="secret" role="alert"><p>${title}</p><p><code>${text}</code></p>
    <button type="button" onClick=${onClose}>Hide it for good</button></div>`;
}

// Reads a list; returns [what was read or null, the text of a problem].
function useAnswer(path) {
  const [answer, setAnswer] = useState(null);
  const [problem, setProblem] = useState("");
  useEffect(() => {
    call("GET", path).then(setAnswer, (error) => setProblem(error.message));
  }, [path]);
  return [answer, problem];
}

async function attempt(request, done) {
  try {
    done(await request());
  } catch (problem) {
    toast(problem.message, { tone: "bad" });
  }
}

// ── users ───────────────────────────────────────────────────────────────────────────────────────

const ROLES = ["admin", "user", "viewer"];

function Users({ again, setSecret }) {
  const [answer, problem] = useAnswer("/v1/users");
  const add = (event) => {
    event.preventDefault();
    const { name, role } = Object.fromEntries(new FormData(event.target));
    attempt(() => call("POST", "/v1/users", { name: name.trim(), role }), again);
  };
  return html`<h3>Users</h3><${Problems} lines=${problem ? [problem] : []} />
    <div class="scroll"><table class="plain"><thead><tr><th scope="col">Name</th><th scope="col">Role</th>
      <th scope="col">Added</th><th scope="col">Change</th></tr></thead>
      <tbody>${(answer?.users ?? []).map((user) => html`<${User} user=${user} again=${again} setSecret=${setSecret} />`)}
      </tbody></table></div>
    <form class="inline" onSubmit=${add}><label>Name <input name="name" required maxlength="64" /></label>
      <label>Role <select name="role"><option>user</option><option>viewer</option><option>admin</option></select></label>
      <button type="submit">Add the user</button></form>`;
}

function User({ user, again, setSecret }) {
  const path = `/v1/users/${encodeURIComponent(user.name)}`;
  const change = (body) => attempt(() => call("PATCH", path, body), again);
  const link = () => attempt(() => call("POST", `${path}/link`), (made) => setSecret({
    title: `With this, ${user.name} signs in once, until ${moment(made.expires_at)}:`,
    text: `${location.origin}/#/sign-in/${made.token}`,
  }));
  return html`<tr><th scope="row">${user.name}</th>
    <td><select aria-label=${`Role of ${user.name}`} value=${user.role} onChange=${(event) => change({ role: event.target.value })}>
      ${ROLES.map((role) => html`<option>${role}</option>`)}</select></td>
    <td><${Moment} at=${user.created_at} /></td>
    <td>${user.disabled_at
      ? html`<button type="button" onClick=${() => change({ disabled: false })}>Enable</button> disabled`
      : html`<button type="button" onClick=${link}>Sign-in link</button>
        <${Confirmed} text="Disable" question="Ends its keys and sessions for good: disable" run=${() => change({ disabled: true })} />`}
    </td></tr>`;
}

// A button that asks once more in its place.
function Confirmed({ text, question, run }) {
  const [isAsking, setAsking] = useState(false);
  if (!isAsking) return html`<button type="button" onClick=${() => setAsking(true)}>${text}</button>`;
  return html`<button type="button" onClick=${run}>${question}</button>
    <button type="button" onClick=${() => setAsking(false)}>Keep</button>`;
}

// ── keys ────────────────────────────────────────────────────────────────────────────────────────

function Keys({ again, setSecret }) {
  const [answer, problem] = useAnswer("/v1/keys");
  const add = (event) => {
    event.preventDefault();
    const { user, name } = Object.fromEntries(new FormData(event.target));
    attempt(() => call("POST", "/v1/keys", { user: user.trim(), name: name.trim() }), (made) => {
      setSecret({ title: `The new key of ${made.user}, shown once:`, text: made.key });
      again();
    });
  };
  return html`<h3>Keys</h3><${Problems} lines=${problem ? [problem] : []} />
    <div class="scroll"><table class="plain"><thead><tr><th scope="col">Prefix</th><th scope="col">User</th>
      <th scope="col">Name</th><th scope="col">May</th><th scope="col">Last used</th><th scope="col">Change</th></tr></thead>
      <tbody>${(answer?.keys ?? []).map((key) => html`<${Key} found=${key} again=${again} />`)}</tbody></table></div>
    <form class="inline" onSubmit=${add}><label>User <input name="user" required maxlength="64" /></label>
      <label>What it is for <input name="name" maxlength="100" /></label>
      <button type="submit">Make a key</button></form>`;
}

function Key({ found, again }) {
  const revoke = () => attempt(() => call("DELETE", `/v1/keys/${found.prefix}`), again);
  const isOver = found.expires_at && Date.parse(found.expires_at) < Date.now();
  const state = (found.revoked_at && "revoked") || (isOver && "expired");
  return html`<tr><th scope="row"><code>${found.prefix}</code></th><td>${found.user}</td><td>${found.name}</td>
    <td>${found.scopes.join(", ")}</td><td><${Moment} at=${found.last_used_at} none="never" /></td>
    <td>${state || html`<${Confirmed} text="Revoke" question="Revoke it for good" run=${revoke} />`}</td></tr>`;
}

// ── deliveries ──────────────────────────────────────────────────────────────────────────────────

function Deliveries() {
  const [answer, problem] = useAnswer("/v1/deliveries?limit=50");
  const found = answer?.deliveries ?? [];
  return html`<h3>Webhook deliveries <small>the newest 50</small></h3><${Problems} lines=${problem ? [problem] : []} />
    ${answer && !found.length && html`<p>There are none.</p>`}
    ${found.length > 0 && html`<div class="scroll"><table class="plain"><thead><tr><th scope="col">Download</th><th scope="col">Event</th>
      <th scope="col">Receiver</th><th scope="col">State</th><th scope="col">Newest attempt</th><th scope="col">Change</th></tr></thead>
      <tbody>${found.map((one) => html`<${Delivery} found=${one} />`)}</tbody></table></div>`}`;
}

function Delivery({ found }) {
  const [delivery, setDelivery] = useState(found);
  const newest = delivery.attempts.at(-1);
  const send = () => attempt(() => call("POST", `/v1/deliveries/${delivery.id}/send`), (sent) => {
    setDelivery(sent);
    toast("It is sent again.");
  });
  return html`<tr><th scope="row"><a href=${`#/job/${delivery.job_id}`}>${delivery.job_id.slice(0, 8)}…</a></th>
    <td>${delivery.event}</td><td>${delivery.host || delivery.target}</td><td>${delivery.state.replace("_", " ")}</td>
    <td>${newest ? html`<${Moment} at=${newest.at} />: ${newest.error ?? newest.status ?? ""}` : "none yet"}</td>
    <td><button type="button" onClick=${send}>Send again</button></td></tr>`;
}

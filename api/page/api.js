// Requests to the HTTP API. Each failure is a Problem with a text for people.
import { signal } from "./lib.js";

// null until it is known; false: not signed in; else {user_id, role, scopes, kind}.
export const session = signal(null);

export class Problem extends Error {
  constructor(status, { detail, title, code, errors } = {}) {
    super(detail || title || `The service answered with status ${status}.`);
    this.status = status;
    this.code = code ?? "";
    this.errors = errors ?? []; // [{pointer, detail}]
  }
}

const UNREACHABLE = { code: "unreachable", detail: "The service does not answer. Is it running?" };

// Returns the JSON of the answer, or null for an empty one. Throws a Problem.
export async function call(method, path, body, { headers = {}, keepalive = false } = {}) {
  const options = { method, headers: { ...headers }, keepalive, credentials: "same-origin" };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Problem(0, UNREACHABLE);
  }
  if (answer.ok) return answer.status === 204 ? null : readJson(answer);
  throw await problemOf(answer);
}

export async function problemOf(answer) {
  if (answer.status === 401 && session.value) session.value = false;
  try {
    return new Problem(answer.status, await answer.json());
  } catch {
    return new Problem(answer.status);
  }
}

async function readJson(answer) {
  try {
    return await answer.json();
  } catch {
    throw new Problem(0, UNREACHABLE); // the connection ended within the answer
  }
}

export function may(scope) {
  return Boolean(session.value && session.value.scopes.includes(scope));
}

// Says that this browser has signed in before: the cookie itself is hidden from scripts.
const MARK = "seen-signed-in";

export async function readSession() {
  if (!localStorage.getItem(MARK)) {
    session.value = false;
    return;
  }
  try {
    session.value = await call("GET", "/v1/session");
  } catch (problem) {
    if (problem.status !== 401) throw problem;
    localStorage.removeItem(MARK);
    session.value = false;
  }
}

export async function signIn(secret) {
  const isLink = secret.startsWith("seen_link_");
  session.value = await call("POST", "/v1/session", isLink ? { link_token: secret } : { key: secret });
  localStorage.setItem(MARK, "yes");
}

export async function signOut(everywhere = false) {
  if (everywhere) await call("POST", "/v1/session/everywhere");
  else await call("DELETE", "/v1/session");
  localStorage.removeItem(MARK);
  session.value = false;
}

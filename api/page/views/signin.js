// Signing in: by a link's token or an API key.
import { readSession, session, signIn } from "../api.js";
import { html, useEffect, useState } from "../lib.js";

// Of `#/sign-in/TOKEN`; it leaves the address at once, so that the history does not keep it.
export function tokenOfAddress() {
  const token = /^#\/sign-in\/([A-Za-z0-9_-]+)$/.exec(location.hash)?.[1];
  if (token) history.replaceState(null, "", "#/");
  return token;
}

export function SignIn({ token, onTaken }) {
  const [secret, setSecret] = useState("");
  const [problem, setProblem] = useState("");
  const [isBusy, setBusy] = useState(false);
  const use = async (text) => {
    setBusy(true);
    setProblem("");
    try {
      await signIn(text.trim());
    } catch (error) {
      setProblem(error.message);
    }
    setBusy(false);
  };
  useEffect(() => {
    if (!token) return;
    onTaken();
    use(token);
  }, [token]);
  const submit = (event) => {
    event.preventDefault();
    if (secret.trim()) use(secret);
    else setProblem("Paste an API key or the token of a sign-in link.");
  };
  return html`<main class="sign-in">
    <h1>SEEN downloads</h1>
    <form onSubmit=${submit}>
      <label for="secret">API key, or token of a sign-in link</label>
      <input id="secret" type="password" autocomplete="current-password" value=${secret} autofocus
        aria-describedby="sign-in-help" onInput=${(event) => setSecret(event.target.value)} />
      <button type="submit" class="main" disabled=${isBusy}>Sign in</button>
      ${problem && html`<p class="notice bad" role="alert">${problem}</p>`}
      <p id="sign-in-help"><code>seen open</code> opens this page signed in. <code>seen user link NAME</code>
        prints a token for one sign-in, <code>seen key add NAME</code> a key.</p>
    </form>
  </main>`;
}

// Another user's link must not change who is signed in without a question.
export function OtherSession({ token, onDone }) {
  const [problem, setProblem] = useState("");
  const change = async () => {
    try {
      await signIn(token);
      onDone();
      location.reload();
    } catch (error) {
      setProblem(error.message);
      readSession().catch(() => {});
    }
  };
  return html`<main class="sign-in"><h1>Use the sign-in link?</h1>
    <p>You are signed in as ${session.value.user_id}. The link may be another user's.</p>
    <p><button type="button" onClick=${change}>Use the link</button>
      <button type="button" class="main" onClick=${onDone}>Stay ${session.value.user_id}</button></p>
    ${problem && html`<p class="notice bad" role="alert">${problem}</p>`}</main>`;
}

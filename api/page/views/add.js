// Adding downloads: one URL a line, checked before anything is sent.
import { toast } from "../announce.js";
import { check, refusals, sendAll } from "../adding.js";
import { plural } from "../format.js";
import { html, useRef, useState } from "../lib.js";
import { dialog } from "../keys.js";
import { Dialog, Problems } from "./parts.js";

export function Add({ text }) {
  const form = useRef(null);
  const [problems, setProblems] = useState([]);
  const [isBusy, setBusy] = useState(false);
  const [lines, setLines] = useState(text);
  const close = () => (dialog.value = "");
  const submit = async (event) => {
    event.preventDefault();
    const { downloads, problems: found } = check(lines, new FormData(form.current));
    setProblems(found);
    if (found.length) return;
    setBusy(true);
    try {
      const added = await sendAll(downloads, setLines);
      toast(`Added ${plural(added, "download")}.`);
      close();
    } catch (problem) {
      setProblems(refusals(problem));
      setBusy(false);
    }
  };
  const number = lines.split("\n").filter((line) => line.trim()).length;
  return html`<${Dialog} title="Add downloads" onClose=${close}>
    <form ref=${form} class="add" onSubmit=${submit}>
      <label for="urls">URLs, one a line; a checksum may follow each, as <code>sha256:…</code></label>
      <textarea id="urls" rows="7" autofocus spellcheck="false" value=${lines} aria-describedby="add-problems"
        onInput=${(event) => setLines(event.target.value)} placeholder="https://example.org/film.mkv"></textarea>
      <div class="fields">
        <label>Folder <input name="directory" placeholder="in the download folder" /></label>
        <label>Priority <select name="priority"><option>high</option><option selected>normal</option>
          <option>low</option></select></label>
        ${number < 2 && html`<label>File name <input name="name" placeholder="as the origin names it" /></label>
          <label>Checksum <input name="checksum" placeholder="sha256:…" spellcheck="false" /></label>`}
      </div>
      <div id="add-problems"><${Problems} lines=${problems} /></div>
      <p class="end"><button type="button" onClick=${close}>Cancel</button>
        <button type="submit" class="main" disabled=${isBusy || !number}>
          ${number > 1 ? `Add ${plural(number, "download")}` : "Add"}</button></p>
    </form>
  </${Dialog}>`;
}

// The keys, as `?` shows them.
import { html } from "../lib.js";
import { dialog, KEYS } from "../keys.js";
import { Dialog } from "./parts.js";

const NAMES = { ArrowDown: "↓", ArrowUp: "↑", "Shift+ArrowDown": "Shift ↓", "Shift+ArrowUp": "Shift ↑", "Ctrl+a": "Ctrl A" };

export function Help() {
  return html`<${Dialog} title="Keys" onClose=${() => (dialog.value = "")}>
    <table class="keys"><tbody>${KEYS.map(([keys, text]) => html`<tr>
      <th scope="row">${keys.map((key) => html`<kbd>${NAMES[key] ?? key}</kbd> `)}</th><td>${text}</td></tr>`)}
    </tbody></table>
    <p>With the mouse: a click selects a row, Ctrl and a click adds one, Shift and a click selects up to it.</p>
  </${Dialog}>`;
}

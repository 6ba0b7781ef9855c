import { html } from "../lib.js";
export function Admin() { return html`<section></section>`; }

import { html } from "../lib.js";
export function Health() { return html`<section></section>`; }

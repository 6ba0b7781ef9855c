// Limits of downloads at once and of bytes a second: read by all, changed by admins.
import { call, may } from "../api.js";
import { rate } from "../format.js";
import { html, useEffect, useState } from "../lib.js";
import { dialog } from "../keys.js";
import { toast } from "../announce.js";
import { jobs } from "../store.js";
import { nameOf } from "../words.js";
import { Dialog, Problems } from "./parts.js";

const UNITS = { B: 1, kB: 1e3, MB: 1e6, GB: 1e9 };

// Returns bytes a second; null for an empty text; undefined for one that is no rate.
export function parseRate(text) {
  if (!text.trim()) return null;
  const match = /^\s*(\d+(?:\.\d+)?)\s*(B|kB|MB|GB)?(?:\/s)?\s*$/i.exec(text);
  if (!match) return undefined;
  const unit = Object.keys(UNITS).find((one) => one.toLowerCase() === (match[2] ?? "B").toLowerCase());
  return Math.round(Number(match[1]) * UNITS[unit]);
}

export function Limits() {
  const [limits, setLimits] = useState(null);
  const [problems, setProblems] = useState([]);
  const close = () => (dialog.value = "");
  useEffect(() => {
    call("GET", "/v1/limits").then(setLimits).catch((error) => setProblems([error.message]));
  }, []);
  const change = async (body) => {
    try {
      setLimits(await call("PATCH", "/v1/limits", body));
      setProblems([]);
      toast("Limits changed.");
    } catch (error) {
      setProblems([error.message]);
    }
  };
  return html`<${Dialog} title="Limits" onClose=${close}>
    ${limits && html`<${Table} limits=${limits} change=${change} />`}
    ${limits && may("admin") && html`<${Form} change=${change} setProblems=${setProblems} />
      <${NumberForm} change=${change} />`}
    <${Problems} lines=${problems} />
  </${Dialog}>`;
}

// [{title, limit, used, show, removal}]: `removal` is the request that removes the limit.
function linesOf({ total, concurrent_downloads: atOnce, hosts, jobs: ofJobs }) {
  const number = { title: "Downloads at once", limit: atOnce.limit, used: atOnce.running, show: String,
    removal: atOnce.is_default ? null : { concurrent_downloads: null } };
  const all = { title: "All downloads", ...total, removal: total.is_default ? null : { total: null } };
  const byHost = hosts.map((one) => ({ title: one.host, ...one, removal: { hosts: { [one.host]: null } } }));
  const byJob = ofJobs.map((one) => {
    const job = jobs.get(one.job_id);
    return { title: job ? nameOf(job) : one.job_id, ...one, removal: { jobs: { [one.job_id]: null } } };
  });
  return [all, number, ...byHost, ...byJob];
}

function Table({ limits, change }) {
  return html`<table class="plain"><thead><tr><th scope="col">Of</th><th scope="col">Limit</th>
    <th scope="col">Used</th><th scope="col">Change</th></tr></thead>
    <tbody>${linesOf(limits).map(({ title, limit, used, show = rate, removal }) => html`<tr><th scope="row">${title}</th>
      <td>${limit ? show(limit) : "none"}</td><td>${show(used)}</td>
      <td>${limit && removal && may("admin") && html`<button type="button"
        onClick=${() => change(removal)}>Remove</button>`}</td></tr>`)}</tbody></table>`;
}

function Form({ change, setProblems }) {
  const submit = (event) => {
    event.preventDefault();
    const fields = new FormData(event.target);
    const wanted = parseRate(fields.get("rate"));
    const host = fields.get("host").trim();
    if (!wanted) setProblems([`“${fields.get("rate")}” is no rate. Write it as 5 MB/s or 800 kB/s.`]);
    else change(host ? { hosts: { [host]: wanted } } : { total: wanted });
  };
  return html`<form class="inline" onSubmit=${submit}>
    <label>Host <input name="host" placeholder="empty for all downloads" /></label>
    <label>Limit <input name="rate" placeholder="5 MB/s" required /></label>
    <button type="submit" class="main">Set the rate</button></form>`;
}

function NumberForm({ change }) {
  const submit = (event) => {
    event.preventDefault();
    change({ concurrent_downloads: Number(new FormData(event.target).get("number")) });
  };
  return html`<form class="inline" onSubmit=${submit}>
    <label>Downloads at once <input name="number" type="number" min="1" max="100000" required /></label>
    <button type="submit" class="main">Set the number</button></form>`;
}

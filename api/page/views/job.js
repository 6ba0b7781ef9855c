// The page of one download: its state, speed, life and request.
import { ACTIONS, act, fits, setPriority } from "../actions.js";
import { call, may } from "../api.js";
import { size } from "../format.js";
import { html, useEffect, useState } from "../lib.js";
import { connection } from "../live.js";
import { jobs, kept, mergeRead, now, position, speedsOf, version } from "../store.js";
import { describe, FINISHED, nameOf, remedyOf } from "../words.js";
import { Curve } from "./curve.js";
import { Bar, Moment } from "./parts.js";

export function JobPage({ id }) {
  const [problem, setProblem] = useState("");
  version.value;
  const job = jobs.get(id);
  useEffect(() => {
    kept.add(id);
    const since = position();
    call("GET", `/v1/downloads/${id}`)
      .then((found) => {
        mergeRead([found], since);
        setProblem("");
      })
      .catch((error) => setProblem(error.message));
    return () => kept.delete(id);
  }, [id, connection.value]);
  if (!job) return html`<section class="job"><p class=${problem ? "notice bad" : ""} role="status">
    ${problem || "Loading…"}</p><p><a href="#/">Back to the list</a></p></section>`;
  return html`<section class="job" aria-label=${nameOf(job)}>
    <p><a href="#/">Downloads</a></p>
    <h2 dir="auto">${nameOf(job)}</h2>
    <${Now} job=${job} />
    <div class="columns"><div><${Speed} job=${job} /><${Timeline} job=${job} /></div>
      <${Facts} job=${job} /></div>
  </section>`;
}

function Now({ job }) {
  const shown = describe(job, now.value);
  const remedy = remedyOf(job);
  return html`<div class="now">
    <p><b class="tone ${shown.tone}">${shown.label}</b> ${shown.detail}</p>
    ${remedy && html`<p class="remedy">${remedy}</p>`}
    <${Bar} ...${shown} label="Progress" />
    <p class="numbers">${[shown.percent, shown.amount, shown.speed, shown.eta && `${shown.eta} left`].filter(Boolean).join(" · ")}</p>
    <p class="actions">
      ${may("control") && Object.keys(ACTIONS).filter((name) => fits(name, job)).map((name) => html`<button
        type="button" onClick=${() => act(name, [job.id])}>${ACTIONS[name].title}</button>`)}
      ${may("control") && !FINISHED.has(job.status) && html`<label>Priority <select value=${job.priority}
        onChange=${(event) => setPriority([job.id], event.target.value)}>
        <option>high</option><option>normal</option><option>low</option></select></label>`}
      ${job.status === "completed" && may("files") && html`<a class="button" download
        href=${`/v1/downloads/${job.id}/file`}>Save the file</a>`}
    </p>
  </div>`;
}

function Speed({ job }) {
  const speeds = speedsOf(job.id);
  if (!speeds || speeds.times.length < 2) return null;
  return html`<h3>Speed <small>since this page was opened</small></h3><${Curve} speeds=${speeds} />`;
}

// ── life ────────────────────────────────────────────────────────────────────────────────────────

function Timeline({ job }) {
  const [events, setEvents] = useState(null);
  useEffect(() => {
    let isCurrent = true;
    call("GET", `/v1/downloads/${job.id}/history`)
      .then((found) => isCurrent && setEvents(found.events))
      .catch(() => {});
    return () => (isCurrent = false);
  }, [job.id, job.status, job.error_code, job.attempts, job.control, connection.value]);
  if (!events) return null;
  return html`<h3>Life</h3><ol class="timeline">${events.map((event) => html`<li>
    <${Moment} at=${event.at} />
    <span><b>${event.to_status}</b> ${event.reason ?? ""}
      <small>${[event.worker, event.attempt > 0 && `attempt ${event.attempt}`].filter(Boolean).join(" · ")}</small></span>
  </li>`)}</ol>`;
}

// ── request ─────────────────────────────────────────────────────────────────────────────────────

const FACTS = [
  ["URL", (job) => job.url],
  ["Mirrors", (job) => job.mirrors?.join("\n")],
  ["Folder", (job) => job.directory],
  ["File", (job) => job.path],
  ["Size", (job) => job.bytes_total !== null && size(job.bytes_total)],
  ["Checksum", (job) => job.checksum],
  ["SHA-256", (job) => job.sha256],
  ["Owner", (job) => job.user_id],
  ["Hidden", (job) => job.hidden?.join(", ")],
  ["Priority", (job) => job.priority],
  ["Attempts", (job) => `${job.attempts} of ${job.max_attempts}`],
  ["Limit", (job) => job.max_rate && `${size(job.max_rate)}/s`],
  ["Worker", (job) => job.worker],
  ["Submitted", (job) => job.created_at && html`<${Moment} at=${job.created_at} />`],
  ["Started", (job) => job.started_at && html`<${Moment} at=${job.started_at} />`],
  ["Ended", (job) => job.finished_at && html`<${Moment} at=${job.finished_at} />`],
  ["Error", (job) => job.error_code],
  ["Id", (job) => job.id],
];

function Facts({ job }) {
  const known = FACTS.map(([title, read]) => [title, read(job)]).filter(([, value]) => value);
  return html`<dl class="facts">${known.map(([title, value]) => html`<dt>${title}</dt><dd>${value}</dd>`)}</dl>`;
}

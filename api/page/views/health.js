// The parts of the service, what to do about one that does not work, and the workers.
import { call } from "../api.js";
import { html, useEffect, useState } from "../lib.js";

const EVERY = 5_000;

// Reads again as long as the page is shown; what was read stays when the service does not answer.
function useReport() {
  const [report, setReport] = useState(null);
  const [problem, setProblem] = useState("");
  useEffect(() => {
    const read = () => document.hidden || call("GET", "/v1/health").then(
      (found) => {
        setReport(found);
        setProblem("");
      },
      (error) => setProblem(error.message),
    );
    read();
    const timer = setInterval(read, EVERY);
    return () => clearInterval(timer);
  }, []);
  return { report, problem };
}

export function Health() {
  const { report, problem } = useReport();
  return html`<section class="page" aria-label="Health"><h2>Health</h2>
    ${problem && html`<p class="notice bad" role="alert">${problem}</p>`}
    ${report && html`<${Parts} parts=${report.parts} /><${Workers} workers=${report.workers} />`}
    ${report?.flower && html`<p><a href=${report.flower} target="_blank" rel="noreferrer">Flower</a> shows Celery's
      tasks and workers. It has a sign-in of its own: the user and password of SEEN_FLOWER_USER and
      SEEN_FLOWER_PASSWORD, which <code>seen up</code> prints.</p>`}
  </section>`;
}

function Parts({ parts }) {
  return html`<table class="plain parts"><thead><tr><th scope="col">Part</th><th scope="col">State</th>
    <th scope="col">What was found, and what to do</th></tr></thead><tbody>${parts.map((part) => html`<tr>
      <th scope="row">${part.name}</th>
      <td><b class="tone ${part.works ? "good" : "bad"}">${part.works ? "works" : "does not work"}</b></td>
      <td>${part.detail}${part.remedy && html`<p class="remedy">${part.remedy}</p>`}</td></tr>`)}</tbody></table>`;
}

function Workers({ workers }) {
  if (workers === null) return html`<h3>Workers</h3><p>Unknown: the store does not answer.</p>`;
  if (!workers.length) return html`<h3>Workers</h3><p>None runs.</p>`;
  return html`<h3>Workers</h3><table class="plain"><thead><tr><th scope="col">Name</th><th scope="col">Queues</th></tr></thead>
    <tbody>${workers.map((one) => html`<tr><th scope="row">${one.name}</th><td>${one.queues.join(", ")}</td></tr>`)}</tbody></table>`;
}

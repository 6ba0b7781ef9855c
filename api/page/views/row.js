// One row of the list.
import { ACTIONS, act, fits, pending } from "../actions.js";
import { may } from "../api.js";
import { html } from "../lib.js";
import { current, extendTo, selected, selectOnly, toggle } from "../selection.js";
import { now, speedsOf } from "../store.js";
import { describe, nameOf } from "../words.js";
import { Bar, IconButton, Spark } from "./parts.js";

export function Row({ job, index, top }) {
  const shown = describe(job, now.value);
  const isPending = pending.value.get(job.id);
  if (isPending) Object.assign(shown, { label: isPending === "cancel" ? "Will be cancelled" : "Will be removed" });
  const isSelected = selected.value.has(job.id);
  const isCurrent = current.value === job.id;
  const classes = ["row", isSelected && "selected", isCurrent && "current", isPending && "pending"];
  return html`<div role="row" id=${`row-${job.id}`} class=${classes.filter(Boolean).join(" ")}
    aria-rowindex=${index + 2} aria-selected=${isSelected} style=${{ transform: `translateY(${top}px)` }}
    onClick=${(event) => choose(event, job.id)} onDblClick=${() => openJob(job.id)}>
    <span role="gridcell" class="name"><a href=${`#/job/${job.id}`} tabindex="-1" dir="auto" title=${job.url}>${nameOf(job)}</a>
      <small>${subtitle(job)}</small></span>
    <span role="gridcell" class="state"><b class="tone ${shown.tone}">${shown.label}</b>
      <small title=${shown.title}>${shown.detail}</small></span>
    <span role="gridcell" class="progress"><${Bar} ...${shown} label=${`Progress of ${nameOf(job)}`} />
      <small>${[shown.percent, shown.amount].filter(Boolean).join(" · ")}</small></span>
    <span role="gridcell" class="speed"><${Spark} speeds=${shown.speed && speedsOf(job.id)} />
      <small>${shown.speed}</small></span>
    <span role="gridcell" class="eta"><small>${shown.eta}</small></span>
    <span role="gridcell" class="buttons">${may("control") && buttons(job)}</span>
  </div>`;
}

function subtitle(job) {
  const priority = job.priority === "normal" ? "" : `${job.priority} priority`;
  return [job.host, job.directory, priority].filter(Boolean).join(" · ");
}

// The first that fits of each pair; a waiting job can be paused, and resumed from its page.
const PAIRS = [["pause", "resume", "retry"], ["cancel", "delete"]];

function buttons(job) {
  return PAIRS.map((names) => {
    const name = names.find((one) => fits(one, job));
    if (!name) return html`<span class="icon-button absent"></span>`;
    const label = `${ACTIONS[name].title} ${nameOf(job)}`;
    return html`<${IconButton} name=${name} label=${label} onClick=${() => act(name, [job.id])} />`;
  });
}

function choose(event, id) {
  if (event.target.closest("a, button")) return;
  if (event.shiftKey) extendTo(id);
  else if (event.ctrlKey || event.metaKey || event.pointerType === "touch") toggle(id);
  else selectOnly(id);
  window.getSelection()?.removeAllRanges();
}

function openJob(id) {
  location.hash = `#/job/${id}`;
}

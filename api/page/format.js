// Numbers and times as people read them. Units as in the command line: powers of 1000.

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
const BYTES_PER_MEGABIT = 125_000;

export function size(bytes) {
  let value = bytes;
  let unit = 0;
  while (value >= 999.95 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value.toFixed(unit ? 1 : 0)} ${UNITS[unit]}`;
}

export function rate(bytesPerSecond) {
  return `${size(bytesPerSecond)}/s`;
}

// The speed of a job, in bytes a second.
export function speedOf(job) {
  return job.speed_mbps * BYTES_PER_MEGABIT;
}

export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export function count(number) {
  return number.toLocaleString("en");
}

export function plural(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

const MOMENT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

export function moment(text) {
  return text ? MOMENT.format(new Date(text)) : "";
}

const EXACT = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

// With the time zone, for titles.
export function exactly(text) {
  return text ? EXACT.format(new Date(text)) : "";
}

export function secondsUntil(text, now) {
  return text ? Math.max(0, (Date.parse(text) - now) / 1000) : 0;
}

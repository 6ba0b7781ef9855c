// From lines of text to requests; problems are named by line. Nothing here draws.
import { call } from "./api.js";

const SCHEMES = new Set(["http:", "https:", "ftp:", "ftps:"]);
const DIGITS = { md5: 32, sha1: 40, sha256: 64, sha512: 128, blake2b: 128, crc32c: 8 };
// The service takes so many at once.
const MOST = 1_000;

// Returns {downloads, problems}: requests with the number of their line, and sentences.
export function check(text, fields) {
  const common = {};
  for (const name of ["directory", "priority", "name", "checksum"]) {
    const value = (fields.get(name) ?? "").trim();
    if (value) common[name] = value;
  }
  const problems = [];
  const lineOf = new Map();
  const downloads = [];
  text.split("\n").forEach((raw, index) => {
    const line = raw.trim();
    if (!line || line.startsWith("#")) return; // a comment of a list
    const [url, checksum, ...rest] = line.split(/\s+/);
    const request = { ...common, url, ...(checksum ? { checksum } : {}) };
    const problem = problemOf(request, rest, lineOf.get(url));
    lineOf.set(url, index + 1);
    if (problem) problems.push(`Line ${index + 1}: ${problem}`);
    else downloads.push({ line: index + 1, request });
  });
  if (!downloads.length && !problems.length) problems.push("There is no URL.");
  return { downloads, problems };
}

function problemOf({ url, checksum }, rest, earlier) {
  if (rest.length) return "Write a URL, and a checksum behind it if there is one; no more.";
  if (earlier) return `This URL is on line ${earlier}, too.`;
  if (!URL.canParse(url)) return `“${url}” is not a URL. It begins with https://, http://, ftp:// or ftps://.`;
  const parsed = new URL(url);
  if (!SCHEMES.has(parsed.protocol)) return `“${parsed.protocol}” is not supported: http, https, ftp and ftps are.`;
  if (!parsed.hostname) return "The URL names no host.";
  if (parsed.username || parsed.password) return "A URL has no user name and password here.";
  return checksum ? checksumProblem(checksum) : "";
}

function checksumProblem(checksum) {
  const [algorithm, digest = ""] = checksum.toLowerCase().split(":");
  if (!(algorithm in DIGITS)) return `“${checksum}” is not a checksum. It is ALGORITHM:DIGITS, such as sha256:…`;
  const isRight = /^[0-9a-f]*$/.test(digest) && digest.length === DIGITS[algorithm];
  return isRight ? "" : `A checksum of ${algorithm} has ${DIGITS[algorithm]} digits, 0 to 9 and a to f.`;
}

// Sends in parts; a refused part has added nothing. `onRest` gets the lines that are not yet added.
export async function sendAll(downloads, onRest) {
  for (let first = 0; first < downloads.length; first += MOST) {
    const part = downloads.slice(first, first + MOST);
    try {
      await send({ downloads: part.map((one) => one.request), mode: "all_or_none" });
    } catch (problem) {
      problem.lines = part.map((one, index) => (first ? index + 1 : one.line));
      if (first) onRest(downloads.slice(first).map(textOf).join("\n"));
      throw problem;
    }
  }
  return downloads.length;
}

// The same request has the same key until it is accepted: repeated after a lost answer, it adds nothing twice.
const keys = new Map();
async function send(body) {
  const text = JSON.stringify(body);
  if (!keys.has(text)) keys.set(text, newKey());
  await call("POST", "/v1/downloads", body, { headers: { "Idempotency-Key": keys.get(text) } });
  keys.delete(text);
}

function newKey() {
  const random = crypto.getRandomValues(new Uint32Array(4));
  return `page-${Array.from(random, (one) => one.toString(36)).join("-")}`;
}

function textOf({ request }) {
  return [request.url, request.checksum].filter(Boolean).join(" ");
}

// The sentences of a refusal, each with its line.
export function refusals(problem) {
  const named = problem.errors.map(({ pointer, detail }) => {
    const index = /^\/downloads\/(\d+)/.exec(pointer)?.[1];
    const line = problem.lines?.[index];
    return line === undefined ? detail : `Line ${line}: ${detail}`;
  });
  return named.length ? named : [problem.message];
}

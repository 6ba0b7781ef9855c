// What front ends do with the package aria2: `node client.cjs PORT KEY FAST SLOW`. Prints one JSON object.
const Aria2 = require("aria2");
const WebSocket = require("ws");

const [port, secret, fast, slow] = process.argv.slice(2);
const EVENTS = ["onDownloadStart", "onDownloadPause", "onDownloadStop", "onDownloadComplete"];
const DEADLINE = 60_000;

async function main() {
  const client = new Aria2({ host: "127.0.0.1", port: Number(port), secure: false, secret, WebSocket });
  await client.open();
  const heard = [];
  for (const name of EVENTS) client.on(name, ([event]) => heard.push([name, event.gid]));

  const until = async (what, check) => {
    const end = Date.now() + DEADLINE;
    while (!(await check())) {
      if (Date.now() > end) throw new Error(`not in time: ${what}; heard ${JSON.stringify(heard)}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  const reaches = (gid, status) =>
    until(`${gid} is ${status}`, async () => (await client.call("tellStatus", gid, ["status"])).status === status);
  const hears = (name, gid) => until(`${name} of ${gid}`, () => heard.some(([n, g]) => n === name && g === gid));

  const quick = await client.call("addUri", [fast], { out: "npm-fast.bin" });
  const long = await client.call("addUri", [slow], { out: "npm-slow.bin" });
  await reaches(quick, "complete");
  await reaches(long, "active");
  await client.call("pause", long);
  await reaches(long, "paused");
  await hears("onDownloadPause", long);
  const [changed, stat, unknown] = await client.multicall([
    ["changeOption", long, { "max-download-limit": "20K" }],
    ["getGlobalStat"],
    ["nope"],
  ]);
  await Promise.all(await client.batch([["unpause", long], ["changeGlobalOption", { "max-concurrent-downloads": "9" }]]));
  const limit = (await client.call("getGlobalOption"))["max-concurrent-downloads"];
  await reaches(long, "active");
  await client.call("remove", long);
  await reaches(long, "removed");
  await hears("onDownloadComplete", quick);
  await hears("onDownloadStop", long);
  const purged = await client.call("purgeDownloadResult");
  const stopped = await client.call("tellStopped", 0, 10, ["gid"]);
  const methods = await client.listMethods();
  await client.close();
  return { changed, stat: Object.keys(stat[0]).sort(), unknown, limit, purged, stopped, methods };
}

main().then(
  (found) => console.log(JSON.stringify(found)),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);

// The technicians' page: what `dockd status` says, without the names of clips.

import { find, make, pauseText, run } from "./page.js";
import { bytes, list, moment, number, percent, placeName, text, timeLeft } from "./texts.js";

function show(status) {
  const title = text("technicians.title", { station: status.station.id });
  document.title = title;
  find("station").textContent = title;
  const kind = verdictOf(status);
  const verdict = text(`verdict.${kind}`);
  if (find("verdict").textContent !== verdict) find("verdict").textContent = verdict;
  find("verdict").dataset.verdict = kind;
  showFacts("server", server(status));
  showFacts("spool", spool(status.spool));
  showFacts("clips", clips(status));
  showList("pauses", status.pauses.map((one) => make("li", {}, pauseText(one))), "pauses.none");
  showList("troubles", status.troubles.map((one) => trouble(one, status)), "troubles.none");
  showTable("cameras", ["place", "camera", "stage", "clips", "progress"], status.cameras, camera);
  showTable("work", ["clip", "camera", "stage", "progress", "rate"], status.work, (one) =>
    work(one, status),
  );
}

// All is well only where all was read.
function verdictOf(status) {
  const isRest = status.verdict === "well" && status.cameras.some((one) => one.left_alone.files);
  return isRest ? "rest" : status.verdict;
}

// The four at the top

function server({ target, rates }) {
  const reachable = { true: "server.reachable", false: "server.unreachable", null: "server.unknown" };
  return [
    ["server.address", target.url],
    ["server.state", text(reachable[target.reachable])],
    ["server.success", target.last_success ? moment(target.last_success) : text("never")],
    ["server.receipts", text(target.gives_receipts ? "yes" : "server.no-receipts")],
    ["server.rate", rate(rates.upload ?? 0)],
  ];
}

function spool(one) {
  return [
    ["spool.used", text("of", { part: bytes(one.used), whole: bytes(one.budget) })],
    ["spool.free", bytes(one.free)],
    ["spool.reserve", bytes(one.reserve)],
    ["spool.waiting", text(one.waiting ? "yes" : "no")],
  ];
}

function clips(status) {
  const oldest = status.oldest_unacknowledged;
  return [
    ...Object.entries(status.clips).map(([state, count]) => [`clip.${state}`, number(count)]),
    ["clips.oldest", oldest ? moment(oldest) : text("none")],
  ];
}

// Rows and entries

function trouble(one, status) {
  const about = [];
  if (one.camera) about.push(cameraName(one.camera, status));
  if (one.clip !== null) about.push(text("clip.number", { clip: one.clip }));
  const when = [text("trouble.since", { time: moment(one.since) })];
  if (one.failures > 1) when.push(text("trouble.failures", { count: number(one.failures) }));
  if (one.next_try) when.push(text("trouble.next", { time: moment(one.next_try) }));
  else when.push(text(one.needs_person ? "trouble.person" : "trouble.look"));
  const item = make(
    "li",
    {},
    make("p", { className: "about" }, about.join(", ")),
    make("p", { className: "what" }, one.what),
    make("p", {}, make("b", {}, text("trouble.hint")), " ", one.hint),
    make("p", { className: "when" }, when.join(" · ")),
  );
  item.dataset.person = one.needs_person;
  return item;
}

function camera(one) {
  const counts = Object.entries(one.clips)
    .filter(([, count]) => count)
    .map(([state, count]) => `${number(count)} ${text(`clip.${state}`).toLowerCase()}`);
  const left = one.left_alone.files;
  if (left) counts.push(text("clips.left", { count: number(left) }));
  const name = make("span", {}, one.serial, " ", make("small", {}, one.profile));
  const done = left ? "instruction.rest" : "instruction.safe";
  const stage = text(one.safe_to_take ? done : `stage.${one.stage}`);
  return [
    placeName(one.place),
    name,
    stage,
    counts.length ? list(counts) : text("none"),
    progress(one.bytes_done, one.bytes_total, one.seconds_left, placeName(one.place)),
  ];
}

function work(one, status) {
  const clip = text("clip.number", { clip: one.clip });
  return [
    clip,
    cameraName(one.camera, status),
    text(`work.${one.stage}`),
    progress(one.done, one.total, one.rate ? (one.total - one.done) / one.rate : null, clip),
    rate(one.rate),
  ];
}

function cameraName(id, status) {
  const docked = status.cameras.find((one) => one.id === id);
  return docked ? `${placeName(docked.place)}: ${docked.serial}` : id;
}

function rate(value) {
  return text("rate", { size: bytes(value) });
}

function progress(done, total, seconds, name) {
  if (total === 0) return "";
  const share = percent(done, total);
  const words = [number(share / 100, { style: "percent" })];
  if (seconds !== null && done < total) words.push(timeLeft(seconds));
  const bar = make("progress", { max: 100, value: share });
  bar.setAttribute("aria-label", text("progress.label", { bay: name }));
  bar.setAttribute("aria-valuetext", words.join(", "));
  return make("span", { className: "progress" }, bar, " ", words.join(" · "));
}

// Filling in; what has not changed is left alone, for the sake of screen readers

function replace(id, ...children) {
  const fresh = make("div", {}, ...children);
  if (fresh.innerHTML !== find(id).innerHTML) find(id).replaceChildren(...fresh.childNodes);
}

function showFacts(id, facts) {
  const pairs = facts.map(([key, value]) =>
    make("div", {}, make("dt", {}, text(key)), make("dd", {}, value)),
  );
  replace(id, ...pairs);
}

function showList(id, items, none) {
  replace(id, ...(items.length ? items : [make("li", { className: "none" }, text(none))]));
}

function showTable(id, columns, rows, cells) {
  const heads = columns.map((one) => make("th", { scope: "col" }, text(`column.${one}`)));
  const body = rows.map((row) => {
    const [first, ...others] = cells(row);
    const head = make("th", { scope: "row" }, first);
    return make("tr", {}, head, ...others.map((one) => make("td", {}, one)));
  });
  const none = make("td", { colSpan: columns.length, className: "none" }, text("none"));
  replace(
    id,
    make("thead", {}, make("tr", {}, ...heads)),
    make("tbody", {}, ...(rows.length ? body : [make("tr", {}, none)])),
  );
}

run("/v1/technician/events", "status", (status) => status.station.version, show);

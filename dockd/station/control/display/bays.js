// The bay display: a tile a bay, and the one thing that an officer wants to know.

import { arrange, columnsFor, widest } from "./grid.js";
import { find, make, pauseText, run } from "./page.js";
import { list, number, percent, placeName, text, textsOf, timeLeft } from "./texts.js";

const AT_AN_END = [null, "done", "stuck", "refused"]; // stages without progress

const TURN_MS = 8_000; // how long each page is shown where one has no room for all bays
const HELD_MS = 30_000; // how long whoever is at a tile keeps its page

let told = new Map(); // the instruction last shown for each bay
let current; // what is shown
let page = 0;
let heldUntil = 0; // by performance.now()

function instructionFor(tile) {
  if (tile.camera === null) return "empty";
  if (tile.safe_to_take) return tile.left_alone ? "rest" : "safe";
  return tile.needs_person ? "call" : "leave";
}

function show(display) {
  current = display;
  const title = text("bays.title", { station: display.station });
  document.title = title;
  find("station").textContent = title;
  showNotices(display);
  announce(display.tiles);
  showPage();
}

// Shows as many tiles as there is room for, and the next ones after a while.
function showPage() {
  const layout = fit();
  const tiles = layout.perPage < current.tiles.length ? troubledFirst(current.tiles) : current.tiles;
  const pages = Math.max(Math.ceil(tiles.length / layout.perPage), 1);
  page %= pages;
  showTiles(tiles.slice(page * layout.perPage, (page + 1) * layout.perPage));
  const values = { page: number(page + 1), pages: number(pages) };
  find("page").textContent = pages > 1 ? text("bays.page", values) : "";
}

function troubledFirst(tiles) {
  const isTroubled = (tile) => instructionFor(tile) === "call";
  return [...tiles.filter(isTroubled), ...tiles.filter((tile) => !isTroubled(tile))];
}

// Whoever is at a tile, with the keyboard or a pointer, keeps it: not whoever has gone, as a touch
// leaves the focus where it was, and a pointer that nobody moves rests anywhere.
function turn() {
  if (find("current").hidden || performance.now() < heldUntil) return;
  if (find("tiles").contains(document.activeElement)) document.activeElement.blur();
  page += 1;
  showPage();
}

function showNotices(display) {
  const notices = display.paused.map(pauseText);
  if (display.target_reachable === false) notices.push(text("server.unreachable"));
  if (display.verdict === "needs-person") notices.push(technicianText(display.tiles));
  const shown = [...find("notices").children].map((one) => one.textContent);
  if (notices.join("\n") !== shown.join("\n")) {
    find("notices").replaceChildren(...notices.map((one) => make("li", {}, one)));
  }
  find("notices").hidden = notices.length === 0;
}

function technicianText(tiles) {
  const troubled = tiles.filter((tile) => instructionFor(tile) === "call");
  if (!troubled.length) return text("verdict.needs-person");
  const bays = list([...new Set(troubled.map((tile) => placeName(tile.bay)))]);
  return text("verdict.needs-person.at", { bays });
}

// Tiles stay where they are, so that the focus does.
function showTiles(tiles) {
  const grid = find("tiles");
  while (grid.children.length > tiles.length) grid.lastElementChild.remove();
  while (grid.children.length < tiles.length) {
    grid.append(find("tile").content.cloneNode(true));
  }
  tiles.forEach((tile, index) => fill(grid.children[index], tile));
}

function fill(element, tile) {
  const part = (name) => element.querySelector(`.${name}`);
  const instruction = instructionFor(tile);
  const stage = tile.stage ?? "empty";
  element.dataset.instruction = instruction;
  element.dataset.stage = stage;
  part("bay").textContent = placeName(tile.bay);
  part("camera").replaceChildren(make("bdi", {}, tile.camera ?? ""));
  part("instruction").textContent = text(`instruction.${instruction}`);
  part("stage").textContent = stageText(tile, stage);
  element.querySelector("use").setAttribute("href", `/display/icons.svg#${stage}`);
  element.setAttribute("aria-label", label(tile, instruction));
  fillProgress(element, tile);
}

function stageText(tile, stage) {
  if (!tile.left_alone || stage !== "done") return text(`stage.${stage}`);
  return text("stage.rest", { count: number(tile.left_alone) });
}

function fillProgress(element, tile) {
  const bar = element.querySelector("progress");
  const share = percent(tile.done, tile.total);
  const left = tile.seconds_left === null ? "" : timeLeft(tile.seconds_left);
  const words = number(share / 100, { style: "percent" });
  bar.value = share;
  bar.setAttribute("aria-label", text("progress.label", { bay: placeName(tile.bay) }));
  bar.setAttribute("aria-valuetext", left ? `${words}, ${left}` : words);
  element.querySelector(".left").replaceChildren(make("b", {}, words), make("span", {}, left));
  element.querySelector(".progress").hidden = tile.total === 0 || AT_AN_END.includes(tile.stage);
}

function label(tile, instruction) {
  const what = text(`instruction.${instruction}`);
  const values = { bay: placeName(tile.bay), camera: tile.camera, what };
  return text(tile.camera === null ? "tile.empty" : "tile.camera", values);
}

// Tells screen readers which instructions are new; everything at once would drown the news.
function announce(tiles) {
  const now = new Map(tiles.map((tile) => [tile.bay, label(tile, instructionFor(tile))]));
  const news = [...now].filter(([bay, words]) => told.size && told.get(bay) !== words);
  if (news.length) find("changes").textContent = news.map(([, words]) => words).join(" ");
  told = now;
}

// Columns go by the screen alone, so that tiles stay where they are when a notice comes.
function fit() {
  const grid = find("tiles");
  const style = getComputedStyle(grid);
  const padding = parseFloat(getComputedStyle(document.body).paddingBottom);
  const all = { width: grid.clientWidth, height: window.innerHeight - topOf("current") - padding };
  const room = { ...all, height: window.innerHeight - topOf("tiles") - padding };
  const gap = parseFloat(style.columnGap);
  const width = widest(textsOf("instruction."), textsOf("stage."), style.fontFamily);
  const count = Math.max(current.tiles.length, 1);
  const columns = current.columns || columnsFor(count, all, gap, width);
  const layout = arrange(count, columns, room, gap, width);
  grid.style.setProperty("--columns", layout.columns);
  grid.style.setProperty("--rows", layout.rows);
  grid.style.fontSize = `${layout.size}px`;
  grid.style.height = layout.scrolls ? "auto" : `${room.height}px`;
  return layout;
}

function topOf(id) {
  return find(id).getBoundingClientRect().top + window.scrollY;
}

window.addEventListener("resize", () => {
  if (!find("current").hidden) showPage();
});
for (const sign of ["pointermove", "pointerdown", "keydown", "keyup"]) {
  window.addEventListener(sign, () => {
    if (find("tiles").matches(":focus-within, :hover")) heldUntil = performance.now() + HELD_MS;
  });
}
setInterval(turn, TURN_MS);
find("technicians").hidden = location.pathname === "/kiosk";
run("/v1/display/events", "display", (display) => display.version, show);

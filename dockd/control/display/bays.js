// The bay display: a tile a bay, and the one thing that an officer wants to know.

import { arrange, widest } from "./grid.js";
import { find, make, pauseText, run } from "./page.js";
import { number, percent, placeName, text, textsOf, timeLeft } from "./texts.js";

const AT_AN_END = [null, "done", "stuck", "refused"]; // stages without progress

let told = new Map(); // the instruction last shown for each bay

function instructionFor(tile) {
  if (tile.camera === null) return "empty";
  if (tile.safe_to_take) return tile.left_alone ? "rest" : "safe";
  return tile.needs_person ? "call" : "leave";
}

function show(display) {
  const title = text("bays.title", { station: display.station });
  document.title = title;
  find("station").textContent = title;
  showNotices(display);
  showTiles(display.tiles);
  announce(display.tiles);
  fit();
}

function showNotices(display) {
  const notices = display.paused.map(pauseText);
  if (display.target_reachable === false) notices.push(text("server.unreachable"));
  if (display.verdict === "needs-person") notices.push(text("verdict.needs-person"));
  const shown = [...find("notices").children].map((one) => one.textContent);
  if (notices.join("\n") !== shown.join("\n")) {
    find("notices").replaceChildren(...notices.map((one) => make("li", {}, one)));
  }
  find("notices").hidden = notices.length === 0;
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
  part("camera").textContent = tile.camera ?? "";
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

function fit() {
  const grid = find("tiles");
  const style = getComputedStyle(grid);
  const room = { width: grid.clientWidth, height: window.innerHeight - grid.offsetTop };
  room.height -= parseFloat(getComputedStyle(document.body).paddingBottom);
  const width = widest(textsOf("instruction."), textsOf("stage."), style.fontFamily);
  const best = arrange(grid.children.length, room, parseFloat(style.columnGap), width);
  grid.style.setProperty("--columns", best.columns);
  grid.style.fontSize = `${best.size}px`;
  grid.style.height = best.scrolls ? "auto" : `${room.height}px`;
}

window.addEventListener("resize", () => {
  if (!find("current").hidden) fit();
});
run("/v1/display/events", "display", (display) => display.version, show);

// What both pages do: load texts, show the clock, follow the daemon, say when it is lost.

import { follow } from "./connection.js";
import { loadTexts, moment, text } from "./texts.js";

const SECOND_MS = 1_000;

export const find = (id) => document.getElementById(id);

// Makes an element of text and other elements; nothing is ever read as markup.
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// Shows what the daemon sends by show(data); versionOf(data) is dockd's version.
export async function run(path, event, versionOf, show) {
  await loadTexts();
  tick();
  setInterval(tick, SECOND_MS);
  let version;
  let heard;

  function received(data) {
    version ??= versionOf(data);
    if (versionOf(data) !== version) {
      location.reload(); // this page may not know how to show it
      return;
    }
    find("lost").hidden = true;
    find("current").hidden = false; // before it is filled, so that it can be measured
    show(data);
    heard = new Date();
  }

  function lost() {
    if (!find("lost").hidden) return;
    find("current").hidden = true;
    find("lost").hidden = false;
    for (const one of document.querySelectorAll("[role=status]")) one.textContent = "";
    find("lost").replaceChildren(
      make("h2", {}, text("lost.heading")),
      make("p", {}, text("lost.instruction")),
      make("p", { className: "detail" }, heard ? text("lost.since", { time: moment(heard) }) : ""),
    );
  }

  follow(path, event, received, lost);
}

function tick() {
  find("clock").textContent = moment(new Date());
}

// Returns what a pause means, why it is there, and how long it lasts.
export function pauseText(pause) {
  const values = { reason: pause.reason, since: moment(pause.since) };
  return pause.until
    ? text(`paused.${pause.what}.until`, { ...values, until: moment(pause.until) })
    : text(`paused.${pause.what}`, values);
}

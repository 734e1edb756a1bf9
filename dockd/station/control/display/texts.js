// The texts in the reader's language, and numbers and times as that language writes them.

const RETRY_MS = 2_000;

let catalogue;
let locale;

// Fetches the catalogue, for as long as it takes, and fills in the page's fixed texts.
export async function loadTexts() {
  const asked = new URLSearchParams(location.search).get("lang");
  const wanted = [...(asked ? [asked] : []), ...navigator.languages];
  catalogue = await fetchCatalogue(`/display/texts?lang=${encodeURIComponent(wanted)}`);
  const { language } = catalogue;
  // British and American English share a catalogue, but not a clock.
  locale = wanted.find((one) => one.toLowerCase().split("-")[0] === language) ?? language;
  document.documentElement.lang = language;
  document.documentElement.dir = catalogue.direction;
  for (const element of document.querySelectorAll("[data-text]")) {
    element.textContent = text(element.dataset.text);
  }
  for (const link of document.links) {
    link.search = location.search;
  }
}

async function fetchCatalogue(path) {
  for (;;) {
    try {
      const answer = await fetch(path);
      if (answer.ok) {
        return await answer.json();
      }
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // TypeError: the daemon can't be reached
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

// Returns a text with the values for its {names}.
export function text(key, values = {}) {
  return catalogue[key].replaceAll(/\{(\w+)\}/g, (_, name) => values[name]);
}

// Returns all texts whose keys begin so.
export function textsOf(beginning) {
  return Object.keys(catalogue).filter((key) => key.startsWith(beginning)).map((key) => text(key));
}

// Returns what people call a place: "Bay 3" for a bay named 3, and a folder's own name.
export function placeName(place) {
  if (/^\d+$/.test(place)) return text("bay.number", { number: place });
  return place.startsWith("/") ? place.split("/").at(-1) : place;
}

export function number(value, options = {}) {
  return new Intl.NumberFormat(locale, options).format(value);
}

export function percent(done, total) {
  const share = total ? Math.min(done / total, 1) : 0;
  return Math.floor(share * 100); // "100 %" only when it is all there
}

const UNITS = ["KiB", "MiB", "GiB", "TiB"];

export function bytes(value) {
  if (value < 1023.5) return number(value, { style: "unit", unit: "byte", unitDisplay: "long" });
  let power = 1;
  while (value / 1024 ** power >= 1023.5 && power < UNITS.length) power += 1;
  const shown = number(value / 1024 ** power, { maximumSignificantDigits: 3, useGrouping: false });
  return `${shown} ${UNITS[power - 1]}`; // as in every other output of dockd
}

export function timeLeft(seconds) {
  if (seconds < 60) return text("left.moment");
  const minutes = Math.ceil(seconds / 60);
  if (minutes < 60) return text("left.minutes", { minutes: number(minutes) });
  return text("left.hours", {
    hours: number(Math.floor(minutes / 60)),
    minutes: number(minutes % 60),
  });
}

// Returns a time of today as a time, and any other with its date.
export function moment(value) {
  const when = new Date(value);
  const today = when.toDateString() === new Date().toDateString();
  const style = today ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" };
  return new Intl.DateTimeFormat(locale, style).format(when);
}

export function list(parts) {
  return new Intl.ListFormat(locale, { type: "conjunction" }).format(parts);
}

// How big tiles may be, so that all of them are on the screen and their texts fit.

const HEIGHT = 8.4; // of a tile's content, in em
const BESIDE = 6; // what stands beside instruction and stage, in em: icon, paddings
const INSTRUCTION = { size: 1.9, weight: 700 }; // size in em
const STAGE = { size: 1.3, weight: 400 };
const SMALLEST_PX = 8; // below it, pages that turn are the lesser evil
const HANDHELD_PX = 600; // whoever holds a narrower screen scrolls
const GOOD_ENOUGH = 0.95; // so much of the largest size will do where it leaves fewer holes

// Returns how many columns make so many tiles the largest in a room, with few holes.
export function columnsFor(count, room, gap, textWidth) {
  const choices = Array.from({ length: count }, (_, index) => {
    const columns = index + 1;
    const rows = Math.ceil(count / columns);
    return { columns, size: sizeOf(columns, rows, room, gap, textWidth), holes: columns * rows };
  });
  const largest = Math.max(...choices.map((one) => one.size));
  if (largest < SMALLEST_PX) return mostColumns(room, gap, textWidth);
  const good = choices.filter((one) => one.size >= largest * GOOD_ENOUGH);
  return good.reduce((best, one) => (one.holes < best.holes ? one : best)).columns;
}

// Returns columns, rows and the font size in px for so many tiles, and how many a page has room
// for: all of them, unless they would be too small to be read.
export function arrange(count, columns, room, gap, textWidth) {
  const rows = Math.ceil(count / columns);
  const size = sizeOf(columns, rows, room, gap, textWidth);
  if (size >= SMALLEST_PX) return { columns, rows, size, perPage: count, scrolls: false };
  const fitting = Math.max(1, Math.min(columns, mostColumns(room, gap, textWidth)));
  if (room.width < HANDHELD_PX) {
    const all = Math.ceil(count / fitting);
    return { columns: fitting, rows: all, size: SMALLEST_PX, perPage: count, scrolls: true };
  }
  const fittingRows = Math.max(1, Math.floor((room.height + gap) / (HEIGHT * SMALLEST_PX + gap)));
  const whole = sizeOf(fitting, fittingRows, room, gap, textWidth);
  return {
    columns: fitting,
    rows: fittingRows,
    size: whole,
    perPage: fitting * fittingRows,
    scrolls: false,
  };
}

function sizeOf(columns, rows, room, gap, textWidth) {
  return Math.min(
    (room.width - gap * (columns - 1)) / columns / (BESIDE + textWidth),
    (room.height - gap * (rows - 1)) / rows / HEIGHT,
  );
}

function mostColumns(room, gap, textWidth) {
  const width = (BESIDE + textWidth) * SMALLEST_PX;
  return Math.max(1, Math.floor((room.width + gap) / (width + gap)));
}

// Returns how wide the widest of a tile's texts is, in em of the tile.
export function widest(instructions, stages, family) {
  const pen = document.createElement("canvas").getContext("2d");
  const width = (texts, { size, weight }) => {
    pen.font = `${weight} 100px ${family}`;
    return (Math.max(...texts.map((one) => pen.measureText(one).width)) / 100) * size;
  };
  return Math.max(width(instructions, INSTRUCTION), width(stages, STAGE));
}

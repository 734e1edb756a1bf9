// How big tiles may be, so that all of them are on the screen and their texts fit.

const HEIGHT = 8.4; // of a tile's content, in em
const BESIDE = 6; // what stands beside instruction and stage, in em: icon, paddings
const INSTRUCTION = { size: 1.9, weight: 700 }; // size in em
const STAGE = { size: 1.3, weight: 400 };
const SMALLEST_PX = 8; // below it, a page that scrolls is the lesser evil
const GOOD_ENOUGH = 0.95; // so much of the largest size will do where it leaves fewer holes

// Returns the columns and the font size in px for so many tiles in a room.
export function arrange(count, room, gap, textWidth) {
  const width = BESIDE + textWidth; // in em
  const choices = Array.from({ length: Math.max(count, 1) }, (_, index) => {
    const columns = index + 1;
    const rows = Math.ceil(count / columns);
    const size = Math.min(
      (room.width - gap * (columns - 1)) / columns / width,
      (room.height - gap * (rows - 1)) / rows / HEIGHT,
    );
    return { columns, size, holes: columns * rows - count, scrolls: false };
  });
  const largest = Math.max(...choices.map((one) => one.size));
  if (largest < SMALLEST_PX) {
    const columns = Math.max(1, Math.floor((room.width + gap) / (width * SMALLEST_PX + gap)));
    return { columns, size: SMALLEST_PX, scrolls: true };
  }
  const good = choices.filter((one) => one.size >= largest * GOOD_ENOUGH);
  return good.reduce((best, one) => (one.holes < best.holes ? one : best));
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

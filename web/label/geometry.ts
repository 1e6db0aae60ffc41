// Boxes [x1, y1, x2, y2] in px of the image: drawn, moved, sized; never outside, never inverted.

export type Box = [number, number, number, number];
export interface Size { width: number; height: number }

/** Smallest side of a box, px; what is drawn smaller was a click. */
export const LEAST = 2;

export function clamp(value: number, low: number, high: number): number {
  return Math.min(Math.max(value, low), high);
}

/** The box between two points. */
export function between(x: number, y: number, u: number, v: number, size: Size): Box {
  const [a, b] = [clamp(x, 0, size.width), clamp(u, 0, size.width)];
  const [c, d] = [clamp(y, 0, size.height), clamp(v, 0, size.height)];
  return [Math.min(a, b), Math.min(c, d), Math.max(a, b), Math.max(c, d)];
}

/** Moved as far as the image goes. */
export function moved(box: Box, dx: number, dy: number, size: Size): Box {
  const x = clamp(dx, -box[0], size.width - box[2]);
  const y = clamp(dy, -box[1], size.height - box[3]);
  return [box[0] + x, box[1] + y, box[2] + x, box[3] + y];
}

/** With the sides that a handle names ("n", "se", ...) moved. */
export function sized(box: Box, sides: string, dx: number, dy: number, size: Size): Box {
  let [x1, y1, x2, y2] = box;
  if (sides.includes("w")) x1 = clamp(x1 + dx, 0, x2 - LEAST);
  if (sides.includes("e")) x2 = clamp(x2 + dx, x1 + LEAST, size.width);
  if (sides.includes("n")) y1 = clamp(y1 + dy, 0, y2 - LEAST);
  if (sides.includes("s")) y2 = clamp(y2 + dy, y1 + LEAST, size.height);
  return [x1, y1, x2, y2];
}

/** To tenths of a pixel, as they are stored. */
export function rounded(box: Box): Box {
  return box.map((value) => Math.round(value * 10) / 10) as Box;
}

export function isLargeEnough(box: Box): boolean {
  return box[2] - box[0] >= LEAST && box[3] - box[1] >= LEAST;
}

/** The smallest box around a point, -1 where there is none. */
export function at(boxes: Box[], x: number, y: number): number {
  let found = -1;
  let least = Infinity;
  boxes.forEach(([x1, y1, x2, y2], index) => {
    const area = (x2 - x1) * (y2 - y1);
    if (x >= x1 && x <= x2 && y >= y1 && y <= y2 && area < least) [found, least] = [index, area];
  });
  return found;
}

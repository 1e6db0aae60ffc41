// Boxes [x1, y1, x2, y2] in px of the image: drawn, moved, sized; never outside, never inverted.
// @ts-check

/** @typedef {[number, number, number, number]} Box */
/** @typedef {{width: number, height: number}} Size */

/** Smallest side of a box, px; what is drawn smaller was a click. */
export const LEAST = 2;

/** @param {number} value @param {number} low @param {number} high */
export function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

/** The box between two points. @param {number} x @param {number} y @param {number} u
 * @param {number} v @param {Size} size @returns {Box} */
export function between(x, y, u, v, size) {
  const [a, b] = [clamp(x, 0, size.width), clamp(u, 0, size.width)];
  const [c, d] = [clamp(y, 0, size.height), clamp(v, 0, size.height)];
  return [Math.min(a, b), Math.min(c, d), Math.max(a, b), Math.max(c, d)];
}

/** Moved as far as the image goes. @param {Box} box @param {number} dx @param {number} dy
 * @param {Size} size @returns {Box} */
export function moved(box, dx, dy, size) {
  const x = clamp(dx, -box[0], size.width - box[2]);
  const y = clamp(dy, -box[1], size.height - box[3]);
  return [box[0] + x, box[1] + y, box[2] + x, box[3] + y];
}

/** With the sides that a handle names ("n", "se", ...) moved. @param {Box} box
 * @param {string} sides @param {number} dx @param {number} dy @param {Size} size @returns {Box} */
export function sized(box, sides, dx, dy, size) {
  let [x1, y1, x2, y2] = box;
  if (sides.includes("w")) x1 = clamp(x1 + dx, 0, x2 - LEAST);
  if (sides.includes("e")) x2 = clamp(x2 + dx, x1 + LEAST, size.width);
  if (sides.includes("n")) y1 = clamp(y1 + dy, 0, y2 - LEAST);
  if (sides.includes("s")) y2 = clamp(y2 + dy, y1 + LEAST, size.height);
  return [x1, y1, x2, y2];
}

/** To tenths of a pixel, as they are stored. @param {Box} box @returns {Box} */
export function rounded(box) {
  return /** @type {Box} */ (box.map((value) => Math.round(value * 10) / 10));
}

/** @param {Box} box */
export function isLargeEnough(box) {
  return box[2] - box[0] >= LEAST && box[3] - box[1] >= LEAST;
}

/** The smallest box around a point, -1 where there is none. @param {Box[]} boxes
 * @param {number} x @param {number} y */
export function at(boxes, x, y) {
  let found = -1;
  let least = Infinity;
  boxes.forEach(([x1, y1, x2, y2], index) => {
    const area = (x2 - x1) * (y2 - y1);
    if (x >= x1 && x <= x2 && y >= y1 && y <= y2 && area < least) [found, least] = [index, area];
  });
  return found;
}

// The image with its boxes: an SVG over the picture, of the same size, in px of the image.

import { at, between, isLargeEnough, moved, rounded, sized } from "./geometry";
import type { Box, Size } from "./geometry";
import { shown } from "./text";
import type { Work } from "./work";

interface Drag { kind: "draw" | "move" | "size"; sides: string; x: number; y: number; box: Box }

const SVG = "http://www.w3.org/2000/svg";
const SIDES = ["nw", "n", "ne", "e", "se", "s", "sw", "w"];
const HANDLE_PX = 9;
const TEXT_PX = 13;
const MOST_CLOSER = 16;

function element(name: string, attributes: Record<string, string | number>): SVGElement {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  return made;
}

export class Canvas {
  size: Size = { width: 1, height: 1 };
  isWhyShown = true;
  private closer = 1;
  private asked: Box[] = [];
  private work: Work | null = null;
  private drag: Drag | null = null;
  private dragged: Box | null = null;
  private readonly svg = element("svg", { "aria-hidden": "true" });

  /**
   * @param scroller what is seen of the stage
   * @param stage holds picture and boxes
   * @param onDrawn a new box
   */
  constructor(
    private readonly scroller: HTMLElement,
    private readonly stage: HTMLElement,
    private readonly onDrawn: (box: Box) => void,
  ) {
    this.svg.addEventListener("pointerdown", (event) => this.down(event));
    this.svg.addEventListener("pointermove", (event) => this.move(event));
    this.svg.addEventListener("pointerup", () => this.up());
    this.svg.addEventListener("pointercancel", () => this.cancel());
    addEventListener("resize", () => this.layout());
  }

  /** Show a picture that is loaded, what is drawn in it, and the regions that were asked for. */
  show(picture: HTMLImageElement, work: Work, asked: Box[]): void {
    this.size = { width: picture.naturalWidth, height: picture.naturalHeight };
    this.work = work;
    this.asked = asked;
    this.closer = 1;
    this.cancel();
    this.svg.setAttribute("viewBox", `0 0 ${this.size.width} ${this.size.height}`);
    picture.alt = "";
    this.stage.replaceChildren(picture, this.svg);
    work.addEventListener("seen", () => this.paint());
    this.layout();
  }

  clear(): void {
    this.work = null;
    this.stage.replaceChildren();
  }

  /** Pixels of the screen for one of the image. */
  get scale(): number {
    const { width, height } = this.size;
    const fit = Math.min(this.scroller.clientWidth / width, this.scroller.clientHeight / height);
    return fit * this.closer;
  }

  /** Show less or more of the image; a factor of 0 shows all of it. */
  zoom(factor: number): void {
    const { scroller, stage } = this;
    const middle = this.middle();
    this.closer = factor ? Math.min(Math.max(this.closer * factor, 1), MOST_CLOSER) : 1;
    this.layout();
    const [x, y] = middle;
    scroller.scrollLeft = stage.offsetLeft + x * this.scale - scroller.clientWidth / 2;
    scroller.scrollTop = y * this.scale - scroller.clientHeight / 2;
  }

  /** The point of the image in the middle of what is seen. */
  middle(): [number, number] {
    const { scroller, scale, size } = this;
    const [w, h] = [size.width * scale, size.height * scale];
    const x = w <= scroller.clientWidth ? w / 2 : scroller.scrollLeft + scroller.clientWidth / 2;
    const y = h <= scroller.clientHeight ? h / 2 : scroller.scrollTop + scroller.clientHeight / 2;
    return [x / scale, y / scale];
  }

  layout(): void {
    this.stage.style.width = `${Math.floor(this.size.width * this.scale)}px`;
    this.stage.style.height = `${Math.floor(this.size.height * this.scale)}px`;
    this.paint();
  }

  paint(): void {
    const { work, scale } = this;
    if (work === null) return;
    const drawn = work.items.map((item, index) => {
      const chosen = index === work.chosen;
      const [x1, y1, x2, y2] = chosen && this.dragged ? this.dragged : item.box;
      const names = [item.from, chosen ? "chosen" : "", item.ignore ? "ignored" : ""];
      const group = element("g", { class: names.join(" ").trim() });
      const sides = { x: x1, y: y1, width: x2 - x1, height: y2 - y1 };
      group.append(element("rect", { class: "box", ...sides }));
      const high = TEXT_PX / scale;
      const text = element("text", {
        x: x1 + 3 / scale, y: y1 > 1.3 * high ? y1 - 0.3 * high : y1 + 1.1 * high,
        "font-size": high,
      });
      text.textContent = item.score === undefined
        ? shown(item.label) : `${shown(item.label)} ${Math.round(item.score * 100)}%`;
      group.append(text);
      return group;
    });
    // The chosen one on top: its handles must be reachable.
    if (work.chosen >= 0) drawn.push(...drawn.splice(work.chosen, 1));
    if (this.drag?.kind === "draw" && this.dragged) {
      const [x, y, u, v] = this.dragged;
      const group = element("g", { class: "own chosen" });
      group.append(element("rect", { class: "box", x, y, width: u - x, height: v - y }));
      drawn.push(group);
    }
    const asked = this.isWhyShown ? this.asked : [];
    const regions = asked.map(([x, y, u, v]) =>
      element("rect", { class: "asked", x, y, width: u - x, height: v - y }));
    this.svg.replaceChildren(...regions, ...drawn, ...this.handles());
  }

  private handles(): SVGElement[] {
    const item = this.work?.item;
    if (item === undefined || this.drag?.kind === "draw") return [];
    const [x1, y1, x2, y2] = this.dragged ?? item.box;
    const size = HANDLE_PX / this.scale;
    return SIDES.map((sides) => {
      const x = sides.includes("w") ? x1 : sides.includes("e") ? x2 : (x1 + x2) / 2;
      const y = sides.includes("n") ? y1 : sides.includes("s") ? y2 : (y1 + y2) / 2;
      return element("rect", {
        class: `handle ${sides}`, "data-sides": sides,
        x: x - size / 2, y: y - size / 2, width: size, height: size,
      });
    });
  }

  private point(event: PointerEvent): [number, number] {
    const frame = this.svg.getBoundingClientRect();
    return [
      ((event.clientX - frame.left) / frame.width) * this.size.width,
      ((event.clientY - frame.top) / frame.height) * this.size.height,
    ];
  }

  private down(event: PointerEvent): void {
    const { work } = this;
    if (work === null || event.button !== 0) return;
    event.preventDefault();
    this.scroller.focus({ preventScroll: true });
    this.svg.setPointerCapture(event.pointerId);
    const [x, y] = this.point(event);
    const { sides } = (event.target as SVGElement).dataset;
    const item = work.item;
    if (sides !== undefined && item !== undefined) {
      this.drag = { kind: "size", sides, x, y, box: item.box };
      return;
    }
    const hit = event.shiftKey ? -1 : at(work.items.map((one) => one.box), x, y);
    if (hit >= 0) {
      work.choose(hit);
      this.drag = { kind: "move", sides: "", x, y, box: work.items[hit].box };
    } else {
      work.choose(-1);
      this.drag = { kind: "draw", sides: "", x, y, box: [x, y, x, y] };
    }
  }

  private move(event: PointerEvent): void {
    const { drag } = this;
    if (drag === null) return;
    const [x, y] = this.point(event);
    const [dx, dy] = [x - drag.x, y - drag.y];
    this.dragged = drag.kind === "draw" ? between(drag.x, drag.y, x, y, this.size)
      : drag.kind === "move" ? moved(drag.box, dx, dy, this.size)
      : sized(drag.box, drag.sides, dx, dy, this.size);
    this.paint();
  }

  private up(): void {
    const { drag, dragged } = this;
    this.cancel();
    if (drag === null || dragged === null || this.work === null) return this.paint();
    const box = rounded(dragged);
    if (drag.kind === "draw") {
      if (isLargeEnough(box)) this.onDrawn(box);
    } else if (box.join() !== rounded(drag.box).join()) {
      this.work.change({ box });
    }
    this.paint();
  }

  private cancel(): void {
    this.drag = null;
    this.dragged = null;
  }
}

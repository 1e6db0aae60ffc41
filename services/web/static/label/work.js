// What is drawn in one image: objects, which one is chosen, and every step back and forth.
// @ts-check

/** @typedef {import("./geometry.js").Box} Box */
/** @typedef {{box: Box, label: string, ignore: boolean, from: "own" | "model", score?: number}} Item
 */
/** @typedef {{items: readonly Item[], chosen: number}} State */

const MOST_STEPS = 500;

export class Work extends EventTarget {
  /** @param {Item[]} items what is there at first */
  constructor(items) {
    super();
    /** @type {State[]} */
    this.past = [];
    /** @type {State[]} */
    this.future = [];
    /** @type {State} */
    this.state = { items, chosen: -1 };
  }

  get items() {
    return this.state.items;
  }

  get chosen() {
    return this.state.chosen;
  }

  /** The chosen object. @returns {Item | undefined} */
  get item() {
    return this.state.items[this.state.chosen];
  }

  /** Whether anything was changed. */
  get isTouched() {
    return this.past.length > 0;
  }

  /** @param {number} index of an object, -1 for none */
  choose(index) {
    this.state = { ...this.state, chosen: index };
    this.dispatchEvent(new Event("seen"));
  }

  /** @param {number} step 1 or -1 */
  chooseNext(step) {
    const count = this.items.length;
    if (count) this.choose((Math.max(this.chosen, step > 0 ? -1 : 0) + step + count) % count);
  }

  /** @param {Omit<Item, "from">} item drawn by a person */
  add(item) {
    const items = [...this.items, /** @type {Item} */ ({ ...item, from: "own" })];
    this.#step({ items, chosen: items.length - 1 });
  }

  /** Change the chosen object; it is a person's from then on. @param {Partial<Item>} change */
  change(change) {
    const { chosen } = this;
    if (chosen < 0) return;
    const items = this.items.map((item, index) =>
      index === chosen
        ? /** @type {Item} */ ({ ...item, ...change, from: "own", score: undefined })
        : item);
    this.#step({ items, chosen });
  }

  remove() {
    if (this.chosen < 0) return;
    const items = this.items.filter((_, index) => index !== this.chosen);
    this.#step({ items, chosen: Math.min(this.chosen, items.length - 1) });
  }

  /** Put all objects in the place of others. @param {Item[]} items */
  replace(items) {
    this.#step({ items, chosen: -1 });
  }

  undo() {
    const before = this.past.pop();
    if (before === undefined) return false;
    this.future.push(this.state);
    this.#show(before);
    return true;
  }

  redo() {
    const after = this.future.pop();
    if (after === undefined) return false;
    this.past.push(this.state);
    this.#show(after);
    return true;
  }

  /** The objects as an answer has them. */
  answer() {
    return this.items.map(({ box, label, ignore }) => ({ box, label, ignore }));
  }

  /** @param {State} next */
  #step(next) {
    this.past.push(this.state);
    if (this.past.length > MOST_STEPS) this.past.shift();
    this.future = [];
    this.#show(next);
  }

  /** @param {State} state */
  #show(state) {
    this.state = state;
    this.dispatchEvent(new Event("changed"));
    this.dispatchEvent(new Event("seen"));
  }
}

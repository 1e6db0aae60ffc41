// What is drawn in one image: objects, which one is chosen, and every step back and forth.

import type { Box } from "./geometry";

export interface Item {
  box: Box;
  label: string;
  ignore: boolean;
  from: "own" | "model";
  score?: number;
}
interface State { items: readonly Item[]; chosen: number }

const MOST_STEPS = 500;

export class Work extends EventTarget {
  private past: State[] = [];
  private future: State[] = [];
  private state: State;

  /** @param items what is there at first */
  constructor(items: Item[]) {
    super();
    this.state = { items, chosen: -1 };
  }

  get items(): readonly Item[] {
    return this.state.items;
  }

  get chosen(): number {
    return this.state.chosen;
  }

  /** The chosen object. */
  get item(): Item | undefined {
    return this.state.items[this.state.chosen];
  }

  /** @param index of an object, -1 for none */
  choose(index: number): void {
    this.state = { ...this.state, chosen: index };
    this.dispatchEvent(new Event("seen"));
  }

  chooseNext(step: 1 | -1): void {
    const count = this.items.length;
    if (count) this.choose((Math.max(this.chosen, step > 0 ? -1 : 0) + step + count) % count);
  }

  /** Add what a person has drawn. */
  add(item: Omit<Item, "from">): void {
    const items: Item[] = [...this.items, { ...item, from: "own" }];
    this.step({ items, chosen: items.length - 1 });
  }

  /** Change the chosen object; it is a person's from then on. */
  change(change: Partial<Item>): void {
    const { chosen } = this;
    if (chosen < 0) return;
    const items = this.items.map((item, index): Item =>
      index === chosen ? { ...item, ...change, from: "own", score: undefined } : item);
    this.step({ items, chosen });
  }

  remove(): void {
    if (this.chosen < 0) return;
    const items = this.items.filter((_, index) => index !== this.chosen);
    this.step({ items, chosen: Math.min(this.chosen, items.length - 1) });
  }

  /** Put all objects in the place of others. */
  replace(items: Item[]): void {
    this.step({ items, chosen: -1 });
  }

  undo(): boolean {
    const before = this.past.pop();
    if (before === undefined) return false;
    this.future.push(this.state);
    this.show(before);
    return true;
  }

  redo(): boolean {
    const after = this.future.pop();
    if (after === undefined) return false;
    this.past.push(this.state);
    this.show(after);
    return true;
  }

  /** The objects as an answer has them. */
  answer(): Pick<Item, "box" | "label" | "ignore">[] {
    return this.items.map(({ box, label, ignore }) => ({ box, label, ignore }));
  }

  private step(next: State): void {
    this.past.push(this.state);
    if (this.past.length > MOST_STEPS) this.past.shift();
    this.future = [];
    this.show(next);
  }

  private show(state: State): void {
    this.state = state;
    this.dispatchEvent(new Event("changed"));
    this.dispatchEvent(new Event("seen"));
  }
}

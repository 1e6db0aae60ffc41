// Which images this page has: one to work on and the next, leased, renewed and given back.
// @ts-check

import { Refused, call } from "./server.js";

/** @typedef {{id: number, token: number, image_id: string, prelabels: any[],
 *   reason: Record<string, any>, state: string}} Task */
/** @typedef {{task: Task, picture: HTMLImageElement}} Taken */

const HELD = "e2x:held";
const LONGEST_RENEWAL_S = 60;
const IDLE_MS = 10 * 60 * 1000;

export class Tasks {
  /**
   * @param {string} user
   * @param {number} leaseS seconds of a lease
   * @param {(task: Task, error: Refused) => void} onLost somebody else has it
   * @param {() => boolean} mayRelease whether a task has no answer that waits to be sent
   */
  constructor(user, leaseS, onLost, mayRelease) {
    this.user = user;
    this.onLost = onLost;
    this.mayRelease = mayRelease;
    /** @type {Taken | null} */
    this.current = null;
    /** @type {Promise<Taken | null> | null} */
    this.coming = null;
    /** @type {Task[]} */
    this.held = [];
    this.lastTouch = Date.now();
    for (const kind of ["keydown", "pointerdown"]) {
      addEventListener(kind, () => { this.lastTouch = Date.now(); }, true);
    }
    const everyS = Math.min(LONGEST_RENEWAL_S, leaseS / 3);
    setInterval(() => void this.#renewAll(), everyS * 1000);
    addEventListener("pagehide", () => this.#leave());
    addEventListener("pageshow", (event) => {
      if (event.persisted) location.reload(); // what it had was given back
    });
  }

  /** The next image; null where none waits. Throws Unreachable. @returns {Promise<Taken | null>} */
  async next() {
    this.current = null;
    const coming = this.coming;
    this.coming = null;
    const next = (await coming) ?? (await this.#kept()) ?? (await this.#lease());
    this.current = next;
    return next;
  }

  /** Lease the image after this one and load its picture, while a person works on this one. */
  prepare() {
    if (this.current === null || this.coming !== null) return;
    this.coming = this.#lease().catch(() => null);
  }

  /** Say that a task has ended here. @param {Task} task */
  forget(task) {
    this.held = this.held.filter((one) => one.id !== task.id);
    this.#remember();
  }

  /** Tasks that this tab had when it was last shown, such as before a crash.
   * @returns {Promise<Taken | null>} */
  async #kept() {
    /** @type {{id: number, token: number}[]} */
    const before = JSON.parse(sessionStorage.getItem(HELD) ?? "[]");
    const mine = new Set(this.held.map((one) => one.id));
    for (const { id, token } of before.filter((one) => !mine.has(one.id))) {
      try {
        const task = await call("POST", `/v1/tasks/${id}/renew`, { token });
        if (task.state === "leased") return this.#take(task);
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
      }
    }
    return null;
  }

  /** @returns {Promise<Taken | null>} */
  async #lease() {
    const told = await call("POST", "/v1/tasks/lease", { owner: this.user, count: 1 });
    return told.items.length ? this.#take(told.items[0]) : null;
  }

  /** @param {Task} task @returns {Taken} */
  #take(task) {
    this.held.push(task);
    this.#remember();
    const picture = new Image();
    picture.src = `/pictures/image/${task.image_id}`;
    return { task, picture };
  }

  #remember() {
    const kept = this.held.map(({ id, token }) => ({ id, token }));
    sessionStorage.setItem(HELD, JSON.stringify(kept));
  }

  async #renewAll() {
    if (Date.now() - this.lastTouch > IDLE_MS) return; // nobody works: it goes to somebody else
    for (const task of this.held) {
      try {
        await call("POST", `/v1/tasks/${task.id}/renew`, { token: task.token });
      } catch (error) {
        if (!(error instanceof Refused) || error.status !== 409) return;
        this.forget(task);
        this.onLost(task, error);
      }
    }
  }

  #leave() {
    if (!this.mayRelease()) return;
    for (const task of this.held) {
      const body = { token: task.token };
      call("POST", `/v1/tasks/${task.id}/release`, body, { keepalive: true }).catch(() => {});
    }
  }
}

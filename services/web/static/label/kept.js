// What the browser keeps until the server has it: drafts, and answers that are not sent yet.
// @ts-check

import { Refused, Unreachable, call } from "./server.js";

/** @typedef {import("./work.js").Item} Item */
/** @typedef {{id: number, token: number, what: "submit" | "skip" | "reject", body: any, at: number}}
 * Entry */

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 15000;
const OLDEST_MS = 30 * 86400 * 1000;
const SEND_WAIT_MS = 8000;

/** Drafts and answers of one person in this browser. */
export class Kept {
  /** @param {string} user */
  constructor(user) {
    this.prefix = `e2x:${user}:`;
  }

  /** @param {number} task @returns {Item[] | null} */
  draft(task) {
    return this.#read(`draft:${task}`)?.items ?? null;
  }

  /** @param {number} task @param {readonly Item[]} items */
  keepDraft(task, items) {
    this.#write(`draft:${task}`, { items, at: Date.now() });
  }

  /** @param {number} task */
  dropDraft(task) {
    localStorage.removeItem(`${this.prefix}draft:${task}`);
  }

  /** Answers that wait to be sent, the oldest first. @returns {Entry[]} */
  answers() {
    const keys = this.#keys("answer:");
    return keys.map((key) => this.#read(key)).filter(Boolean).sort((a, b) => a.at - b.at);
  }

  /** @param {Entry} entry */
  keepAnswer(entry) {
    this.#write(`answer:${entry.id}:${entry.token}`, entry);
  }

  /** @param {Entry} entry */
  dropAnswer(entry) {
    localStorage.removeItem(`${this.prefix}answer:${entry.id}:${entry.token}`);
  }

  /** Forget drafts that nobody came back to. */
  tidy() {
    for (const key of this.#keys("draft:")) {
      if (!(this.#read(key)?.at > Date.now() - OLDEST_MS)) localStorage.removeItem(this.prefix + key);
    }
  }

  /** @param {string} beginning */
  #keys(beginning) {
    return Object.keys(localStorage)
      .filter((key) => key.startsWith(this.prefix + beginning))
      .map((key) => key.slice(this.prefix.length));
  }

  /** @param {string} key @returns {any} */
  #read(key) {
    try {
      return JSON.parse(localStorage.getItem(this.prefix + key) ?? "null");
    } catch {
      return null; // not ours
    }
  }

  /** @param {string} key @param {unknown} value */
  #write(key, value) {
    localStorage.setItem(this.prefix + key, JSON.stringify(value));
  }
}

/** Sends answers in their order, and again until the server has them. */
export class Outbox extends EventTarget {
  /**
   * @param {Kept} kept
   * @param {(entry: Entry, error: Refused) => void} onRefused
   * @param {(entry: Entry, told: any) => void} onTaken what the server says of it
   */
  constructor(kept, onRefused, onTaken) {
    super();
    this.kept = kept;
    this.onRefused = onRefused;
    this.onTaken = onTaken;
    this.waitMs = FIRST_WAIT_MS;
    /** @type {number | undefined} */
    this.timer = undefined;
    /** @type {Promise<void> | null} */
    this.sending = null;
    addEventListener("online", () => void this.send());
  }

  get length() {
    return this.kept.answers().length;
  }

  /** Keep an answer and try to send it; done when it is sent, refused, or must wait.
   * @param {Entry} entry */
  async put(entry) {
    this.kept.keepAnswer(entry);
    await this.sending;
    await this.send();
  }

  /** Send what waits. */
  send() {
    this.sending ??= this.#send().finally(() => {
      this.sending = null;
      this.dispatchEvent(new Event("changed"));
    });
    return this.sending;
  }

  async #send() {
    clearTimeout(this.timer);
    for (const entry of this.kept.answers()) {
      try {
        const told = await call("POST", `/v1/tasks/${entry.id}/${entry.what}`, entry.body,
          { waitMs: SEND_WAIT_MS });
        this.kept.dropAnswer(entry);
        this.kept.dropDraft(entry.id);
        this.waitMs = FIRST_WAIT_MS;
        this.onTaken(entry, told);
      } catch (error) {
        if (error instanceof Refused && error.status !== 401 && error.status !== 403) {
          this.kept.dropAnswer(entry);
          this.onRefused(entry, error);
          continue;
        }
        if (error instanceof Refused) this.onRefused(entry, error); // kept until signed in again
        else if (!(error instanceof Unreachable)) throw error;
        this.timer = setTimeout(() => void this.send(), this.waitMs);
        this.waitMs = Math.min(2 * this.waitMs, LONGEST_WAIT_MS);
        return;
      }
    }
  }
}

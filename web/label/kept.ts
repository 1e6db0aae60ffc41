// What the browser keeps until the server has it: drafts, and answers that are not sent yet.

import { Refused, Unreachable, call } from "./server";
import type { Item } from "./work";

export type What = "submit" | "skip" | "reject";
export interface Entry { id: number; token: number; what: What; body: unknown; at: number }
export interface Told { outcome: string }

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 15000;
const OLDEST_MS = 30 * 86400 * 1000;
const SEND_WAIT_MS = 8000;

/** Drafts and answers of one person in this browser. */
export class Kept {
  private readonly prefix: string;

  constructor(user: string) {
    this.prefix = `e2x:${user}:`;
  }

  draft(task: number): Item[] | null {
    return this.read<{ items: Item[] }>(`draft:${task}`)?.items ?? null;
  }

  keepDraft(task: number, items: readonly Item[]): void {
    this.write(`draft:${task}`, { items, at: Date.now() });
  }

  dropDraft(task: number): void {
    localStorage.removeItem(`${this.prefix}draft:${task}`);
  }

  /** Answers that wait to be sent, the oldest first. */
  answers(): Entry[] {
    const found = this.keys("answer:").map((key) => this.read<Entry>(key));
    return found.filter((entry) => entry !== null).sort((a, b) => a.at - b.at);
  }

  keepAnswer(entry: Entry): void {
    this.write(`answer:${entry.id}:${entry.token}`, entry);
  }

  dropAnswer(entry: Entry): void {
    localStorage.removeItem(`${this.prefix}answer:${entry.id}:${entry.token}`);
  }

  /** Forget drafts that nobody came back to. */
  tidy(): void {
    for (const key of this.keys("draft:")) {
      const at = this.read<{ at: number }>(key)?.at ?? 0;
      if (!(at > Date.now() - OLDEST_MS)) localStorage.removeItem(this.prefix + key);
    }
  }

  private keys(beginning: string): string[] {
    return Object.keys(localStorage)
      .filter((key) => key.startsWith(this.prefix + beginning))
      .map((key) => key.slice(this.prefix.length));
  }

  private read<Stored>(key: string): Stored | null {
    try {
      return JSON.parse(localStorage.getItem(this.prefix + key) ?? "null") as Stored | null;
    } catch {
      return null; // not ours
    }
  }

  private write(key: string, value: unknown): void {
    localStorage.setItem(this.prefix + key, JSON.stringify(value));
  }
}

/** Sends answers in their order, and again until the server has them. */
export class Outbox extends EventTarget {
  private waitMs = FIRST_WAIT_MS;
  private timer: number | undefined;
  private sending: Promise<void> | null = null;

  /**
   * @param kept where they are until then
   * @param onRefused what the server will never take
   * @param onTaken what the server says of an answer
   */
  constructor(
    private readonly kept: Kept,
    private readonly onRefused: (entry: Entry, error: Refused) => void,
    private readonly onTaken: (entry: Entry, told: Told) => void,
  ) {
    super();
    addEventListener("online", () => void this.send());
  }

  get length(): number {
    return this.kept.answers().length;
  }

  /** Keep an answer and try to send it; done when it is sent, refused, or must wait. */
  async put(entry: Entry): Promise<void> {
    this.kept.keepAnswer(entry);
    await this.sending;
    await this.send();
  }

  /** Send what waits. */
  send(): Promise<void> {
    this.sending ??= this.sendAll().finally(() => {
      this.sending = null;
      this.dispatchEvent(new Event("changed"));
    });
    return this.sending;
  }

  private async sendAll(): Promise<void> {
    clearTimeout(this.timer);
    for (const entry of this.kept.answers()) {
      try {
        const told = await call<Told>("POST", `/v1/tasks/${entry.id}/${entry.what}`, entry.body,
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

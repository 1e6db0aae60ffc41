// Which images this page has: one to work on and the next, leased, renewed and given back.

import type { Box } from "./geometry";
import { Refused, call } from "./server";

export interface Prelabel { box: Box; label: string; score?: number | null }
export interface Reason {
  text?: string;
  mode?: string;
  label?: string;
  failure?: string;
  matches?: { box?: unknown }[];
}
export interface Task {
  id: number;
  token: number;
  image_id: string;
  prelabels: Prelabel[];
  reason: Reason;
  state: string;
}
export interface Taken { task: Task; picture: HTMLImageElement }

const HELD = "e2x:held";
const LONGEST_RENEWAL_S = 60;
const IDLE_MS = 10 * 60 * 1000;
/**
 * Seconds that a task is leased for until this page says that it has it. A page that goes away
 * while its wish is on the way never learns what it was given, and cannot give it back.
 */
const UNSAID_S = 10;

export class Tasks {
  current: Taken | null = null;
  private coming: Promise<Taken | null> | null = null;
  private held: Task[] = [];
  private lastTouch = Date.now();

  /**
   * @param user who labels
   * @param leaseS seconds of a lease
   * @param onLost somebody else has it
   */
  constructor(
    private readonly user: string,
    private readonly leaseS: number,
    private readonly onLost: (task: Task, error: Refused) => void,
  ) {
    for (const kind of ["keydown", "pointerdown"]) {
      addEventListener(kind, () => { this.lastTouch = Date.now(); }, true);
    }
    const everyS = Math.min(LONGEST_RENEWAL_S, leaseS / 3);
    setInterval(() => void this.renewAll(), everyS * 1000);
    addEventListener("pagehide", () => this.leave());
    addEventListener("pageshow", (event) => {
      if (event.persisted) location.reload(); // what it had was given back
    });
  }

  /** The next image; null where none waits. Throws Unreachable. */
  async next(): Promise<Taken | null> {
    this.current = null;
    const coming = this.coming;
    this.coming = null;
    const next = (await coming) ?? (await this.before()) ?? (await this.lease());
    this.current = next;
    return next;
  }

  /** Lease the image after this one and load its picture, while a person works on this one. */
  prepare(): void {
    if (this.current === null || this.coming !== null) return;
    this.coming = this.lease().catch(() => null);
  }

  /** Say that a task has ended here. */
  forget(task: Task): void {
    this.held = this.held.filter((one) => one.id !== task.id);
    this.remember();
  }

  /** Tasks that this tab had when it was last shown, such as before a crash. */
  private async before(): Promise<Taken | null> {
    const before: Pick<Task, "id" | "token">[] = JSON.parse(sessionStorage.getItem(HELD) ?? "[]");
    const mine = new Set(this.held.map((one) => one.id));
    for (const { id, token } of before.filter((one) => !mine.has(one.id))) {
      try {
        const task = await call<Task>("POST", `/v1/tasks/${id}/renew`, { token });
        if (task.state === "leased") return this.take(task);
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
      }
    }
    return null;
  }

  private async lease(): Promise<Taken | null> {
    const body = { owner: this.user, count: 1, lease_s: Math.min(UNSAID_S, this.leaseS) };
    const [first] = (await call<{ items: Task[] }>("POST", "/v1/tasks/lease", body)).items;
    if (first === undefined) return null;
    const taken = this.take(first);
    void this.renew(first); // for as long as a lease lasts here
    return taken;
  }

  private take(task: Task): Taken {
    this.held.push(task);
    this.remember();
    const picture = new Image();
    picture.src = `/pictures/image/${task.image_id}`;
    return { task, picture };
  }

  private remember(): void {
    const kept = this.held.map(({ id, token }) => ({ id, token }));
    sessionStorage.setItem(HELD, JSON.stringify(kept));
  }

  private async renewAll(): Promise<void> {
    if (Date.now() - this.lastTouch > IDLE_MS) return; // nobody works: it goes to somebody else
    for (const task of this.held) await this.renew(task);
  }

  private async renew(task: Task): Promise<void> {
    try {
      await call("POST", `/v1/tasks/${task.id}/renew`, { token: task.token });
    } catch (error) {
      if (!(error instanceof Refused) || error.status !== 409) return; // the next renewal says it
      if (!this.held.some((one) => one.id === task.id)) return; // answered meanwhile
      this.forget(task);
      this.onLost(task, error);
    }
  }

  private leave(): void {
    for (const task of this.held) {
      const body = { token: task.token };
      call("POST", `/v1/tasks/${task.id}/release`, body, { keepalive: true }).catch(() => {});
    }
  }
}

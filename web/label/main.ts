// The page to label on: takes an image, lets a person draw, sends the answer, takes the next.

import { Canvas } from "./canvas";
import { moved, rounded, sized } from "./geometry";
import type { Box } from "./geometry";
import { listen } from "./keys";
import type { Act } from "./keys";
import { Kept, Outbox } from "./kept";
import type { Entry, What } from "./kept";
import { byId, notice, say, showClasses, showLatest, showObjects, showWhy } from "./panel";
import { Refused, call } from "./server";
import { Tasks } from "./tasks";
import type { Taken, Task } from "./tasks";
import { Work } from "./work";
import type { Item } from "./work";

const LOOK_AGAIN_MS = 10000;
const STEP_SHARE = 0.01; // of the longer side, by one press of an arrow
const NEW_SHARE = 0.25; // of the shorter side: a new box by key
const COPY_PX = 8;

const root = byId("label");
const user = root.dataset.user ?? "";
const names: string[] = JSON.parse(root.dataset.classes ?? "[]");
const kept = new Kept(user);
const words: Record<string, string> = JSON.parse(root.dataset.words ?? "{}");
const outbox = new Outbox(kept, refused,
  (entry, told) => showLatest(`Image ${entry.id}: ${words[told.outcome] ?? told.outcome}`));
const tasks = new Tasks(user, Number(root.dataset.leaseS), lost);
const canvas = new Canvas(byId("scroller"), byId("stage"), drawn);

let nextClass = names[0] ?? "";
let done = 0;
let isSaidEmpty = false;
let isReady = false;
let isBusy = false;
let timer: number | undefined;
let work = new Work([]);

/** Say whether the image is there to be answered. */
function setReady(ready: boolean): void {
  isReady = ready;
  for (const name of ["submit", "skip", "reject"]) {
    const acts = document.querySelector(`[data-do=${name}]`);
    // An image that cannot be shown may be skipped or rejected, and never be called empty.
    const may = name === "submit" ? ready : tasks.current !== null;
    if (acts instanceof HTMLButtonElement) acts.disabled = !may;
  }
}

async function takeNext(): Promise<void> {
  clearTimeout(timer);
  setReady(false);
  canvas.clear();
  try {
    const taken = await tasks.next();
    if (taken === null) {
      timer = setTimeout(() => void takeNext(), LOOK_AGAIN_MS);
      return rest("No image waits for an answer. This page looks again by itself.");
    }
    await show(taken);
    tasks.prepare();
    const { waiting } = await call<{ waiting: number }>("GET", "/label/waiting");
    byId("waiting").textContent = String(waiting);
  } catch (error) {
    if (tasks.current !== null) return; // only the count is missing
    if (error instanceof Refused) {
      rest(error.message);
      if (error.status === 401) askToSignIn();
      return;
    }
    timer = setTimeout(() => void takeNext(), LOOK_AGAIN_MS / 5);
    rest("No connection: what you have answered is kept here, and sent when it is back.");
  }
}

/** Show that there is no image. */
function rest(text: string): void {
  work = new Work([]);
  showObjects(work);
  say(text);
}

async function show({ task, picture }: Taken): Promise<void> {
  say(`Image ${task.id} is loading…`);
  showWhy(task);
  const proposed: Item[] = task.prelabels.map(({ box, label, score }) =>
    ({ box, label, score: score ?? undefined, ignore: false, from: "model" }));
  work = new Work(proposed);
  isSaidEmpty = false;
  const draft = kept.draft(task.id);
  if (draft !== null) work.replace(draft);
  work.addEventListener("seen", () => {
    showObjects(work);
    showClasses(names, work.item?.label ?? nextClass, pick);
  });
  work.addEventListener("changed", () => {
    isSaidEmpty = false;
    keepDraft(task.id);
  });
  try {
    await picture.decode();
  } catch {
    setReady(false);
    say(`Image ${task.id} could not be loaded: skip or reject it, or load the page again.`, "bad");
    return;
  }
  const asked = (task.reason.matches ?? []).map(({ box }) => box);
  canvas.show(picture, work, asked.filter(isBox));
  work.choose(-1);
  setReady(true);
  byId("scroller").focus({ preventScroll: true });
  say(draft === null ? `Image ${task.id}` : `Image ${task.id}, with your draft; Z takes it back`);
}

function isBox(box: unknown): box is Box {
  return Array.isArray(box) && box.length === 4;
}

function keepDraft(id: number): void {
  try {
    kept.keepDraft(id, work.items);
  } catch {
    say("The browser has no room for drafts: submit before you leave.", "bad");
  }
}

async function answer(what: What, note = ""): Promise<void> {
  const { current } = tasks;
  if (current === null || isBusy || (what === "submit" && !isReady)) return;
  if (what === "submit" && !work.items.length && !isSaidEmpty) {
    isSaidEmpty = true;
    return say("Nothing is drawn. Press Enter again to say that nothing is there.", "bad");
  }
  const { id, token } = current.task;
  const body = what === "submit" ? { token, objects: work.answer(), author: user } : { token, note };
  isBusy = true;
  setReady(false);
  refusedNow = null;
  try {
    await outbox.put({ id, token, what, body, at: Date.now() });
  } finally {
    isBusy = false;
  }
  const error = refusedNow as Refused | null;
  if (error !== null && error.status === 422) {
    setReady(true);
    return say(error.message, "bad");
  }
  tasks.forget(current.task);
  if (error === null) byId("done").textContent = String(++done);
  await takeNext();
}

let refusedNow: Refused | null = null;

function refused(entry: Entry, error: Refused): void {
  if (error.status === 401 || error.status === 403) return askToSignIn();
  if (tasks.current?.task.id === entry.id) refusedNow = error;
  if (error.status === 422) return;
  notice(`Image ${entry.id}: ${error.message} What you drew is kept in this browser.`);
}

let isAsked = false;

function askToSignIn(): void {
  if (isAsked) return;
  isAsked = true;
  const link = { text: "Sign in again", href: "/login?next=/label" };
  notice("You are signed out. Your answers are kept here, and sent after that.", link);
}

function lost(task: Task, error: Refused): void {
  notice(`Image ${task.id}: ${error.message}`);
  if (tasks.current?.task.id === task.id && !isBusy) void takeNext();
}

function drawn(box: Box): void {
  work.add({ box, label: nextClass, ignore: false });
}

/** Choose a class: of the chosen box, and of the next. */
function pick(name: string): void {
  nextClass = name;
  if (work.item !== undefined && work.item.label !== name) work.change({ label: name });
  showClasses(names, name, pick);
  byId("scroller").focus({ preventScroll: true });
}

function arrow(
  dx: number, dy: number, { sizes, fine }: { sizes: boolean; fine: boolean },
): boolean {
  const { item } = work;
  if (item === undefined || !isReady) return false;
  const { size } = canvas;
  const step = fine ? 1 : Math.max(1, Math.round(STEP_SHARE * Math.max(size.width, size.height)));
  const box = sizes ? sized(item.box, "se", dx * step, dy * step, size)
    : moved(item.box, dx * step, dy * step, size);
  work.change({ box: rounded(box) });
  return true;
}

const acts: Record<Act, () => void> = {
  draw() {
    if (!isReady) return;
    const [x, y] = canvas.middle();
    const half = (NEW_SHARE * Math.min(canvas.size.width, canvas.size.height)) / 2;
    drawn(rounded([x - half, y - half, x + half, y + half]));
  },
  copy() {
    const { item } = work;
    if (item === undefined) return;
    const box = moved(item.box, COPY_PX, COPY_PX, canvas.size);
    work.add({ box: rounded(box), label: item.label, ignore: item.ignore });
  },
  remove: () => work.remove(),
  ignore: () => void (work.item && work.change({ ignore: !work.item.ignore })),
  undo: () => void work.undo(),
  redo: () => void work.redo(),
  next: () => work.chooseNext(1),
  before: () => work.chooseNext(-1),
  none: () => work.choose(-1),
  closer: () => canvas.zoom(1.5),
  farther: () => canvas.zoom(1 / 1.5),
  fit: () => canvas.zoom(0),
  why() {
    canvas.isWhyShown = !canvas.isWhyShown;
    byId("why").hidden = !canvas.isWhyShown;
    document.querySelector("[data-do=why]")?.setAttribute("aria-pressed", `${canvas.isWhyShown}`);
    canvas.paint();
  },
  keys: () => byId<HTMLDialogElement>("keys-dialog").showModal(),
  classes: () => byId("class-list").focus(),
  submit: () => void answer("submit"),
  skip: () => void answer("skip"),
  reject() {
    if (tasks.current === null) return;
    byId<HTMLInputElement>("reject-note").value = "";
    byId<HTMLDialogElement>("reject-dialog").showModal();
  },
};

const rejecting = byId<HTMLDialogElement>("reject-dialog");
rejecting.addEventListener("close", () => {
  const note = byId<HTMLInputElement>("reject-note").value;
  if (rejecting.returnValue === "reject") void answer("reject", note);
  rejecting.returnValue = "";
});
for (const made of document.querySelectorAll("[data-do]")) {
  const name = (made as HTMLElement).dataset.do as Act;
  made.addEventListener("click", () => acts[name]());
}
listen(
  (name) => acts[name](),
  (digit) => void (names[digit - 1] !== undefined && pick(names[digit - 1])),
  arrow,
);
outbox.addEventListener("changed", () => {
  const count = outbox.length;
  byId("unsent").textContent = count ? `· ${count} wait to be sent` : "";
});
kept.tidy();
void outbox.send().then(takeNext);

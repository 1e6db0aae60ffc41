// The panel beside the image: boxes, classes, why it was asked for, what was answered.

import type { Task } from "./tasks";
import { shown } from "./text";
import type { Work } from "./work";

/** What the template of the page has under an id. */
export function byId<Kind extends HTMLElement = HTMLElement>(id: string): Kind {
  return document.getElementById(id) as Kind;
}

/** A button with text; what is stored is text and never markup. */
function button(text: string, pressed: boolean, onClick: () => void): HTMLButtonElement {
  const made = document.createElement("button");
  made.type = "button";
  const name = document.createElement("bdi");
  name.textContent = shown(text);
  made.append(name);
  made.setAttribute("aria-pressed", String(pressed));
  made.addEventListener("click", onClick);
  return made;
}

export function showObjects(work: Work): void {
  const rows = work.items.map((item, index) => {
    const score = item.score === undefined ? "" : ` ${Math.round(item.score * 100)}%`;
    const made = button(`${index + 1}. ${item.label}${score}`, index === work.chosen,
      () => work.choose(index));
    made.classList.add(item.from);
    const size = document.createElement("span");
    const [x1, y1, x2, y2] = item.box.map(Math.round);
    size.textContent = `${item.ignore ? "ignored " : ""}${x2 - x1}×${y2 - y1}`;
    made.append(size);
    const row = document.createElement("li");
    row.append(made);
    return row;
  });
  byId("objects").replaceChildren(...rows);
  const own = work.items.filter((item) => item.from === "own").length;
  const proposed = work.items.length - own;
  byId("of-whom").textContent = work.items.length
    ? `${own} yours (green), ${proposed} proposed (yellow, dashed)` : "none";
}

export function showClasses(
  names: string[], current: string, onPick: (name: string) => void,
): void {
  byId("classes").replaceChildren(...names.slice(0, 9).map((name, index) =>
    button(`${index + 1} ${name}`, name === current, () => onPick(name))));
  const list = byId<HTMLSelectElement>("class-list");
  if (list.options.length !== names.length) {
    list.replaceChildren(...names.map((name) => new Option(shown(name), name)));
    list.addEventListener("change", () => onPick(list.value));
  }
  list.value = current;
}

export function showWhy({ reason }: Task): void {
  byId("why-text").textContent = shown(reason.text ?? "no reason is stored");
  const facts = [
    reason.mode ? `mode ${reason.mode}` : "", reason.label ? `class ${reason.label}` : "",
    reason.matches?.length ? `${reason.matches.length} blue, dotted: what resembles it` : "",
  ];
  byId("why-facts").textContent = shown(facts.filter(Boolean).join(" · "));
  const isFailure = /^[0-9a-f]{64}$/.test(reason.failure ?? "");
  byId("why-figure").hidden = !isFailure;
  if (!isFailure) return;
  byId<HTMLImageElement>("why-picture").src = `/pictures/failure/${reason.failure}`;
  byId<HTMLAnchorElement>("why-link").href = `/failures/${reason.failure}`;
}

const LATEST = 3;

/** What became of an answer; the newest stand first. */
export function showLatest(text: string): void {
  const row = document.createElement("li");
  row.textContent = shown(text);
  const list = byId("latest");
  list.prepend(row);
  while (list.children.length > LATEST) list.lastElementChild?.remove();
}

export function say(text: string, kind: "bad" | "good" | "" = ""): void {
  const status = byId("status");
  status.textContent = shown(text);
  status.className = kind ? `notice ${kind}` : "";
}

/** A notice that stays until it is closed. */
export function notice(text: string, link?: { text: string; href: string }): void {
  const told = document.createElement("p");
  told.className = "notice bad";
  told.textContent = `${shown(text)} `;
  if (link !== undefined) {
    const way = document.createElement("a");
    way.href = link.href;
    way.textContent = link.text;
    told.append(way, " ");
  }
  told.append(button("Close", false, () => told.remove()));
  byId("notices").append(told);
}

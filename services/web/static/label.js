// label/geometry.ts
var LEAST = 2;
function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}
function between(x, y, u, v, size) {
  const [a, b] = [clamp(x, 0, size.width), clamp(u, 0, size.width)];
  const [c, d] = [clamp(y, 0, size.height), clamp(v, 0, size.height)];
  return [Math.min(a, b), Math.min(c, d), Math.max(a, b), Math.max(c, d)];
}
function moved(box, dx, dy, size) {
  const x = clamp(dx, -box[0], size.width - box[2]);
  const y = clamp(dy, -box[1], size.height - box[3]);
  return [box[0] + x, box[1] + y, box[2] + x, box[3] + y];
}
function sized(box, sides, dx, dy, size) {
  let [x1, y1, x2, y2] = box;
  if (sides.includes("w")) x1 = clamp(x1 + dx, 0, x2 - LEAST);
  if (sides.includes("e")) x2 = clamp(x2 + dx, x1 + LEAST, size.width);
  if (sides.includes("n")) y1 = clamp(y1 + dy, 0, y2 - LEAST);
  if (sides.includes("s")) y2 = clamp(y2 + dy, y1 + LEAST, size.height);
  return [x1, y1, x2, y2];
}
function rounded(box) {
  return box.map((value) => Math.round(value * 10) / 10);
}
function isLargeEnough(box) {
  return box[2] - box[0] >= LEAST && box[3] - box[1] >= LEAST;
}
function at(boxes, x, y) {
  let found = -1;
  let least = Infinity;
  boxes.forEach(([x1, y1, x2, y2], index) => {
    const area = (x2 - x1) * (y2 - y1);
    if (x >= x1 && x <= x2 && y >= y1 && y <= y2 && area < least) [found, least] = [index, area];
  });
  return found;
}

// label/text.ts
var OBEYED = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/gu;
function shown(text) {
  return text.replace(OBEYED, (mark) => `\\u${(mark.codePointAt(0) ?? 0).toString(16).padStart(4, "0")}`);
}

// label/canvas.ts
var SVG = "http://www.w3.org/2000/svg";
var SIDES = ["nw", "n", "ne", "e", "se", "s", "sw", "w"];
var HANDLE_PX = 9;
var TEXT_PX = 13;
var MOST_CLOSER = 16;
function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  return made;
}
var Canvas = class {
  /**
   * @param scroller what is seen of the stage
   * @param stage holds picture and boxes
   * @param onDrawn a new box
   */
  constructor(scroller, stage, onDrawn) {
    this.scroller = scroller;
    this.stage = stage;
    this.onDrawn = onDrawn;
    this.svg.addEventListener("pointerdown", (event) => this.down(event));
    this.svg.addEventListener("pointermove", (event) => this.move(event));
    this.svg.addEventListener("pointerup", () => this.up());
    this.svg.addEventListener("pointercancel", () => this.cancel());
    addEventListener("resize", () => this.layout());
  }
  scroller;
  stage;
  onDrawn;
  size = { width: 1, height: 1 };
  isWhyShown = true;
  closer = 1;
  asked = [];
  work = null;
  drag = null;
  dragged = null;
  svg = element("svg", { "aria-hidden": "true" });
  /** Show a picture that is loaded, what is drawn in it, and the regions that were asked for. */
  show(picture, work2, asked) {
    this.size = { width: picture.naturalWidth, height: picture.naturalHeight };
    this.work = work2;
    this.asked = asked;
    this.closer = 1;
    this.cancel();
    this.svg.setAttribute("viewBox", `0 0 ${this.size.width} ${this.size.height}`);
    picture.alt = "";
    this.stage.replaceChildren(picture, this.svg);
    work2.addEventListener("seen", () => this.paint());
    this.layout();
  }
  clear() {
    this.work = null;
    this.stage.replaceChildren();
  }
  /** Pixels of the screen for one of the image. */
  get scale() {
    const { width, height } = this.size;
    const fit = Math.min(this.scroller.clientWidth / width, this.scroller.clientHeight / height);
    return fit * this.closer;
  }
  /** Show less or more of the image; a factor of 0 shows all of it. */
  zoom(factor) {
    const { scroller, stage } = this;
    const middle = this.middle();
    this.closer = factor ? Math.min(Math.max(this.closer * factor, 1), MOST_CLOSER) : 1;
    this.layout();
    const [x, y] = middle;
    scroller.scrollLeft = stage.offsetLeft + x * this.scale - scroller.clientWidth / 2;
    scroller.scrollTop = y * this.scale - scroller.clientHeight / 2;
  }
  /** The point of the image in the middle of what is seen. */
  middle() {
    const { scroller, scale, size } = this;
    const [w, h] = [size.width * scale, size.height * scale];
    const x = w <= scroller.clientWidth ? w / 2 : scroller.scrollLeft + scroller.clientWidth / 2;
    const y = h <= scroller.clientHeight ? h / 2 : scroller.scrollTop + scroller.clientHeight / 2;
    return [x / scale, y / scale];
  }
  layout() {
    this.stage.style.width = `${Math.floor(this.size.width * this.scale)}px`;
    this.stage.style.height = `${Math.floor(this.size.height * this.scale)}px`;
    this.paint();
  }
  paint() {
    const { work: work2, scale } = this;
    if (work2 === null) return;
    const drawn2 = work2.items.map((item, index) => {
      const chosen = index === work2.chosen;
      const [x1, y1, x2, y2] = chosen && this.dragged ? this.dragged : item.box;
      const names2 = [item.from, chosen ? "chosen" : "", item.ignore ? "ignored" : ""];
      const group = element("g", { class: names2.join(" ").trim() });
      const sides = { x: x1, y: y1, width: x2 - x1, height: y2 - y1 };
      group.append(element("rect", { class: "box", ...sides }));
      const high = TEXT_PX / scale;
      const text = element("text", {
        x: x1 + 3 / scale,
        y: y1 > 1.3 * high ? y1 - 0.3 * high : y1 + 1.1 * high,
        "font-size": high
      });
      text.textContent = item.score === void 0 ? shown(item.label) : `${shown(item.label)} ${Math.round(item.score * 100)}%`;
      group.append(text);
      return group;
    });
    if (work2.chosen >= 0) drawn2.push(...drawn2.splice(work2.chosen, 1));
    if (this.drag?.kind === "draw" && this.dragged) {
      const [x, y, u, v] = this.dragged;
      const group = element("g", { class: "own chosen" });
      group.append(element("rect", { class: "box", x, y, width: u - x, height: v - y }));
      drawn2.push(group);
    }
    const asked = this.isWhyShown ? this.asked : [];
    const regions = asked.map(([x, y, u, v]) => element("rect", { class: "asked", x, y, width: u - x, height: v - y }));
    this.svg.replaceChildren(...regions, ...drawn2, ...this.handles());
  }
  handles() {
    const item = this.work?.item;
    if (item === void 0 || this.drag?.kind === "draw") return [];
    const [x1, y1, x2, y2] = this.dragged ?? item.box;
    const size = HANDLE_PX / this.scale;
    return SIDES.map((sides) => {
      const x = sides.includes("w") ? x1 : sides.includes("e") ? x2 : (x1 + x2) / 2;
      const y = sides.includes("n") ? y1 : sides.includes("s") ? y2 : (y1 + y2) / 2;
      return element("rect", {
        class: `handle ${sides}`,
        "data-sides": sides,
        x: x - size / 2,
        y: y - size / 2,
        width: size,
        height: size
      });
    });
  }
  point(event) {
    const frame = this.svg.getBoundingClientRect();
    return [
      (event.clientX - frame.left) / frame.width * this.size.width,
      (event.clientY - frame.top) / frame.height * this.size.height
    ];
  }
  down(event) {
    const { work: work2 } = this;
    if (work2 === null || event.button !== 0) return;
    event.preventDefault();
    this.scroller.focus({ preventScroll: true });
    this.svg.setPointerCapture(event.pointerId);
    const [x, y] = this.point(event);
    const { sides } = event.target.dataset;
    const item = work2.item;
    if (sides !== void 0 && item !== void 0) {
      this.drag = { kind: "size", sides, x, y, box: item.box };
      return;
    }
    const hit = event.shiftKey ? -1 : at(work2.items.map((one) => one.box), x, y);
    if (hit >= 0) {
      work2.choose(hit);
      this.drag = { kind: "move", sides: "", x, y, box: work2.items[hit].box };
    } else {
      work2.choose(-1);
      this.drag = { kind: "draw", sides: "", x, y, box: [x, y, x, y] };
    }
  }
  move(event) {
    const { drag } = this;
    if (drag === null) return;
    const [x, y] = this.point(event);
    const [dx, dy] = [x - drag.x, y - drag.y];
    this.dragged = drag.kind === "draw" ? between(drag.x, drag.y, x, y, this.size) : drag.kind === "move" ? moved(drag.box, dx, dy, this.size) : sized(drag.box, drag.sides, dx, dy, this.size);
    this.paint();
  }
  up() {
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
  cancel() {
    this.drag = null;
    this.dragged = null;
  }
};

// label/keys.ts
var PLAIN = {
  n: "draw",
  d: "copy",
  x: "remove",
  delete: "remove",
  backspace: "remove",
  i: "ignore",
  z: "undo",
  y: "redo",
  ".": "next",
  ",": "before",
  enter: "submit",
  s: "skip",
  r: "reject",
  "+": "closer",
  "=": "closer",
  "-": "farther",
  0: "fit",
  w: "why",
  "?": "keys",
  c: "classes",
  escape: "none"
};
var ARROWS = {
  arrowleft: [-1, 0],
  arrowright: [1, 0],
  arrowup: [0, -1],
  arrowdown: [0, 1]
};
var OWN_KEYS = "input, textarea, select, dialog";
var PRESSED = "button, a";
function listen(onAct, onClass, onArrow) {
  document.addEventListener("keydown", (event) => {
    const target = event.target;
    if (event.defaultPrevented || event.isComposing || target.closest(OWN_KEYS)) return;
    if (document.querySelector("dialog[open]")) return;
    const key = event.key.toLowerCase();
    if ((key === "enter" || key === " ") && target.closest(PRESSED)) return;
    const command = event.ctrlKey || event.metaKey;
    const arrow2 = ARROWS[key];
    if (arrow2 !== void 0 && !event.altKey) {
      const how = { sizes: event.shiftKey, fine: command };
      if (onArrow(arrow2[0], arrow2[1], how)) event.preventDefault();
      return;
    }
    if (event.altKey || event.repeat) return;
    if (command) {
      const name2 = key === "z" ? event.shiftKey ? "redo" : "undo" : key === "y" ? "redo" : null;
      if (name2 !== null) {
        event.preventDefault();
        onAct(name2);
      }
      return;
    }
    if (/^[1-9]$/.test(key)) {
      event.preventDefault();
      onClass(Number(key));
      return;
    }
    const name = PLAIN[key];
    if (name !== void 0) {
      event.preventDefault();
      onAct(name);
    }
  });
}

// label/server.ts
var Refused = class extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
  status;
  code;
};
var Unreachable = class extends Error {
};
var AGAIN = [408, 425, 429];
var csrf = document.querySelector("meta[name=csrf]").content;
async function call(method, path, body, { keepalive = false, waitMs = 15e3 } = {}) {
  let answer2;
  try {
    answer2 = await fetch(path, {
      method,
      keepalive,
      headers: {
        Accept: "application/json",
        "Content-Type": "application/json",
        "X-CSRF-Token": csrf
      },
      body: body === void 0 ? void 0 : JSON.stringify(body),
      signal: AbortSignal.timeout(waitMs)
    });
  } catch {
    throw new Unreachable("no connection");
  }
  const told = await answer2.json().catch(() => ({}));
  if (answer2.ok) return told;
  const message = told.message ?? `the server answers ${answer2.status}`;
  if (answer2.status >= 500 || AGAIN.includes(answer2.status)) throw new Unreachable(message);
  throw new Refused(answer2.status, told.code ?? "", message);
}

// label/kept.ts
var FIRST_WAIT_MS = 1e3;
var LONGEST_WAIT_MS = 15e3;
var OLDEST_MS = 30 * 86400 * 1e3;
var SEND_WAIT_MS = 8e3;
var Kept = class {
  prefix;
  constructor(user2) {
    this.prefix = `e2x:${user2}:`;
  }
  draft(task) {
    return this.read(`draft:${task}`)?.items ?? null;
  }
  keepDraft(task, items) {
    this.write(`draft:${task}`, { items, at: Date.now() });
  }
  dropDraft(task) {
    localStorage.removeItem(`${this.prefix}draft:${task}`);
  }
  /** Answers that wait to be sent, the oldest first. */
  answers() {
    const found = this.keys("answer:").map((key) => this.read(key));
    return found.filter((entry) => entry !== null).sort((a, b) => a.at - b.at);
  }
  keepAnswer(entry) {
    this.write(`answer:${entry.id}:${entry.token}`, entry);
  }
  dropAnswer(entry) {
    localStorage.removeItem(`${this.prefix}answer:${entry.id}:${entry.token}`);
  }
  /** Forget drafts that nobody came back to. */
  tidy() {
    for (const key of this.keys("draft:")) {
      const at2 = this.read(key)?.at ?? 0;
      if (!(at2 > Date.now() - OLDEST_MS)) localStorage.removeItem(this.prefix + key);
    }
  }
  keys(beginning) {
    return Object.keys(localStorage).filter((key) => key.startsWith(this.prefix + beginning)).map((key) => key.slice(this.prefix.length));
  }
  read(key) {
    try {
      return JSON.parse(localStorage.getItem(this.prefix + key) ?? "null");
    } catch {
      return null;
    }
  }
  write(key, value) {
    localStorage.setItem(this.prefix + key, JSON.stringify(value));
  }
};
var Outbox = class extends EventTarget {
  /**
   * @param kept where they are until then
   * @param onRefused what the server will never take
   * @param onTaken what the server says of an answer
   */
  constructor(kept2, onRefused, onTaken) {
    super();
    this.kept = kept2;
    this.onRefused = onRefused;
    this.onTaken = onTaken;
    addEventListener("online", () => void this.send());
  }
  kept;
  onRefused;
  onTaken;
  waitMs = FIRST_WAIT_MS;
  timer;
  sending = null;
  get length() {
    return this.kept.answers().length;
  }
  /** Keep an answer and try to send it; done when it is sent, refused, or must wait. */
  async put(entry) {
    this.kept.keepAnswer(entry);
    await this.sending;
    await this.send();
  }
  /** Send what waits. */
  send() {
    this.sending ??= this.sendAll().finally(() => {
      this.sending = null;
      this.dispatchEvent(new Event("changed"));
    });
    return this.sending;
  }
  async sendAll() {
    clearTimeout(this.timer);
    for (const entry of this.kept.answers()) {
      try {
        const told = await call(
          "POST",
          `/v1/tasks/${entry.id}/${entry.what}`,
          entry.body,
          { waitMs: SEND_WAIT_MS }
        );
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
        if (error instanceof Refused) this.onRefused(entry, error);
        else if (!(error instanceof Unreachable)) throw error;
        this.timer = setTimeout(() => void this.send(), this.waitMs);
        this.waitMs = Math.min(2 * this.waitMs, LONGEST_WAIT_MS);
        return;
      }
    }
  }
};

// label/panel.ts
function byId(id) {
  return document.getElementById(id);
}
function button(text, pressed, onClick) {
  const made = document.createElement("button");
  made.type = "button";
  const name = document.createElement("bdi");
  name.textContent = shown(text);
  made.append(name);
  made.setAttribute("aria-pressed", String(pressed));
  made.addEventListener("click", onClick);
  return made;
}
function showObjects(work2) {
  const rows = work2.items.map((item, index) => {
    const score = item.score === void 0 ? "" : ` ${Math.round(item.score * 100)}%`;
    const made = button(
      `${index + 1}. ${item.label}${score}`,
      index === work2.chosen,
      () => work2.choose(index)
    );
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
  const own = work2.items.filter((item) => item.from === "own").length;
  const proposed = work2.items.length - own;
  byId("of-whom").textContent = work2.items.length ? `${own} yours (green), ${proposed} proposed (yellow, dashed)` : "none";
}
function showClasses(names2, current, onPick) {
  byId("classes").replaceChildren(...names2.slice(0, 9).map((name, index) => button(`${index + 1} ${name}`, name === current, () => onPick(name))));
  const list = byId("class-list");
  if (list.options.length !== names2.length) {
    list.replaceChildren(...names2.map((name) => new Option(shown(name), name)));
    list.addEventListener("change", () => onPick(list.value));
  }
  list.value = current;
}
function showWhy({ reason }) {
  byId("why-text").textContent = shown(reason.text ?? "no reason is stored");
  const facts = [
    reason.mode ? `mode ${reason.mode}` : "",
    reason.label ? `class ${reason.label}` : "",
    reason.matches?.length ? `${reason.matches.length} blue, dotted: what resembles it` : ""
  ];
  byId("why-facts").textContent = shown(facts.filter(Boolean).join(" · "));
  const isFailure = /^[0-9a-f]{64}$/.test(reason.failure ?? "");
  byId("why-figure").hidden = !isFailure;
  if (!isFailure) return;
  byId("why-picture").src = `/pictures/failure/${reason.failure}`;
  byId("why-link").href = `/failures/${reason.failure}`;
}
var LATEST = 3;
function showLatest(text) {
  const row = document.createElement("li");
  row.textContent = shown(text);
  const list = byId("latest");
  list.prepend(row);
  while (list.children.length > LATEST) list.lastElementChild?.remove();
}
function say(text, kind = "") {
  const status = byId("status");
  status.textContent = shown(text);
  status.className = kind ? `notice ${kind}` : "";
}
function notice(text, link) {
  const told = document.createElement("p");
  told.className = "notice bad";
  told.textContent = `${shown(text)} `;
  if (link !== void 0) {
    const way = document.createElement("a");
    way.href = link.href;
    way.textContent = link.text;
    told.append(way, " ");
  }
  told.append(button("Close", false, () => told.remove()));
  byId("notices").append(told);
}

// label/tasks.ts
var HELD = "e2x:held";
var LONGEST_RENEWAL_S = 60;
var IDLE_MS = 10 * 60 * 1e3;
var UNSAID_S = 10;
var Tasks = class {
  /**
   * @param user who labels
   * @param leaseS seconds of a lease
   * @param onLost somebody else has it
   */
  constructor(user2, leaseS, onLost) {
    this.user = user2;
    this.leaseS = leaseS;
    this.onLost = onLost;
    for (const kind of ["keydown", "pointerdown"]) {
      addEventListener(kind, () => {
        this.lastTouch = Date.now();
      }, true);
    }
    const everyS = Math.min(LONGEST_RENEWAL_S, leaseS / 3);
    setInterval(() => void this.renewAll(), everyS * 1e3);
    addEventListener("pagehide", () => this.leave());
    addEventListener("pageshow", (event) => {
      if (event.persisted) location.reload();
    });
  }
  user;
  leaseS;
  onLost;
  current = null;
  coming = null;
  held = [];
  lastTouch = Date.now();
  /** The next image; null where none waits. Throws Unreachable. */
  async next() {
    this.current = null;
    const coming = this.coming;
    this.coming = null;
    const next = await coming ?? await this.before() ?? await this.lease();
    this.current = next;
    return next;
  }
  /** Lease the image after this one and load its picture, while a person works on this one. */
  prepare() {
    if (this.current === null || this.coming !== null) return;
    this.coming = this.lease().catch(() => null);
  }
  /** Say that a task has ended here. */
  forget(task) {
    this.held = this.held.filter((one) => one.id !== task.id);
    this.remember();
  }
  /** Tasks that this tab had when it was last shown, such as before a crash. */
  async before() {
    const before = JSON.parse(sessionStorage.getItem(HELD) ?? "[]");
    const mine = new Set(this.held.map((one) => one.id));
    for (const { id, token } of before.filter((one) => !mine.has(one.id))) {
      try {
        const task = await call("POST", `/v1/tasks/${id}/renew`, { token });
        if (task.state === "leased") return this.take(task);
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
      }
    }
    return null;
  }
  async lease() {
    const body = { owner: this.user, count: 1, lease_s: Math.min(UNSAID_S, this.leaseS) };
    const [first] = (await call("POST", "/v1/tasks/lease", body)).items;
    if (first === void 0) return null;
    const taken = this.take(first);
    void this.renew(first);
    return taken;
  }
  take(task) {
    this.held.push(task);
    this.remember();
    const picture = new Image();
    picture.src = `/pictures/image/${task.image_id}`;
    return { task, picture };
  }
  remember() {
    const kept2 = this.held.map(({ id, token }) => ({ id, token }));
    sessionStorage.setItem(HELD, JSON.stringify(kept2));
  }
  async renewAll() {
    if (Date.now() - this.lastTouch > IDLE_MS) return;
    for (const task of this.held) await this.renew(task);
  }
  async renew(task) {
    try {
      await call("POST", `/v1/tasks/${task.id}/renew`, { token: task.token });
    } catch (error) {
      if (!(error instanceof Refused) || error.status !== 409) return;
      if (!this.held.some((one) => one.id === task.id)) return;
      this.forget(task);
      this.onLost(task, error);
    }
  }
  leave() {
    for (const task of this.held) {
      const body = { token: task.token };
      call("POST", `/v1/tasks/${task.id}/release`, body, { keepalive: true }).catch(() => {
      });
    }
  }
};

// label/work.ts
var MOST_STEPS = 500;
var Work = class extends EventTarget {
  past = [];
  future = [];
  state;
  /** @param items what is there at first */
  constructor(items) {
    super();
    this.state = { items, chosen: -1 };
  }
  get items() {
    return this.state.items;
  }
  get chosen() {
    return this.state.chosen;
  }
  /** The chosen object. */
  get item() {
    return this.state.items[this.state.chosen];
  }
  /** @param index of an object, -1 for none */
  choose(index) {
    this.state = { ...this.state, chosen: index };
    this.dispatchEvent(new Event("seen"));
  }
  chooseNext(step) {
    const count = this.items.length;
    if (count) this.choose((Math.max(this.chosen, step > 0 ? -1 : 0) + step + count) % count);
  }
  /** Add what a person has drawn. */
  add(item) {
    const items = [...this.items, { ...item, from: "own" }];
    this.step({ items, chosen: items.length - 1 });
  }
  /** Change the chosen object; it is a person's from then on. */
  change(change) {
    const { chosen } = this;
    if (chosen < 0) return;
    const items = this.items.map((item, index) => index === chosen ? { ...item, ...change, from: "own", score: void 0 } : item);
    this.step({ items, chosen });
  }
  remove() {
    if (this.chosen < 0) return;
    const items = this.items.filter((_, index) => index !== this.chosen);
    this.step({ items, chosen: Math.min(this.chosen, items.length - 1) });
  }
  /** Put all objects in the place of others. */
  replace(items) {
    this.step({ items, chosen: -1 });
  }
  undo() {
    const before = this.past.pop();
    if (before === void 0) return false;
    this.future.push(this.state);
    this.show(before);
    return true;
  }
  redo() {
    const after = this.future.pop();
    if (after === void 0) return false;
    this.past.push(this.state);
    this.show(after);
    return true;
  }
  /** The objects as an answer has them. */
  answer() {
    return this.items.map(({ box, label, ignore }) => ({ box, label, ignore }));
  }
  step(next) {
    this.past.push(this.state);
    if (this.past.length > MOST_STEPS) this.past.shift();
    this.future = [];
    this.show(next);
  }
  show(state) {
    this.state = state;
    this.dispatchEvent(new Event("changed"));
    this.dispatchEvent(new Event("seen"));
  }
};

// label/main.ts
var LOOK_AGAIN_MS = 1e4;
var STEP_SHARE = 0.01;
var NEW_SHARE = 0.25;
var COPY_PX = 8;
var root = byId("label");
var user = root.dataset.user ?? "";
var names = JSON.parse(root.dataset.classes ?? "[]");
var kept = new Kept(user);
var words = JSON.parse(root.dataset.words ?? "{}");
var outbox = new Outbox(
  kept,
  refused,
  (entry, told) => showLatest(`Image ${entry.id}: ${words[told.outcome] ?? told.outcome}`)
);
var tasks = new Tasks(user, Number(root.dataset.leaseS), lost);
var canvas = new Canvas(byId("scroller"), byId("stage"), drawn);
var nextClass = names[0] ?? "";
var done = 0;
var isSaidEmpty = false;
var isReady = false;
var isBusy = false;
var timer;
var work = new Work([]);
function setReady(ready) {
  isReady = ready;
  for (const name of ["submit", "skip", "reject"]) {
    const acts2 = document.querySelector(`[data-do=${name}]`);
    const may = name === "submit" ? ready : tasks.current !== null;
    if (acts2 instanceof HTMLButtonElement) acts2.disabled = !may;
  }
}
async function takeNext() {
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
    const { waiting } = await call("GET", "/label/waiting");
    byId("waiting").textContent = String(waiting);
  } catch (error) {
    if (tasks.current !== null) return;
    if (error instanceof Refused) {
      rest(error.message);
      if (error.status === 401) askToSignIn();
      return;
    }
    timer = setTimeout(() => void takeNext(), LOOK_AGAIN_MS / 5);
    rest("No connection: what you have answered is kept here, and sent when it is back.");
  }
}
function rest(text) {
  work = new Work([]);
  showObjects(work);
  say(text);
}
async function show({ task, picture }) {
  say(`Image ${task.id} is loading…`);
  showWhy(task);
  const proposed = task.prelabels.map(({ box, label, score }) => ({ box, label, score: score ?? void 0, ignore: false, from: "model" }));
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
function isBox(box) {
  return Array.isArray(box) && box.length === 4;
}
function keepDraft(id) {
  try {
    kept.keepDraft(id, work.items);
  } catch {
    say("The browser has no room for drafts: submit before you leave.", "bad");
  }
}
async function answer(what, note = "") {
  const { current } = tasks;
  if (current === null || isBusy || what === "submit" && !isReady) return;
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
  const error = refusedNow;
  if (error !== null && error.status === 422) {
    setReady(true);
    return say(error.message, "bad");
  }
  tasks.forget(current.task);
  if (error === null) byId("done").textContent = String(++done);
  await takeNext();
}
var refusedNow = null;
function refused(entry, error) {
  if (error.status === 401 || error.status === 403) return askToSignIn();
  if (tasks.current?.task.id === entry.id) refusedNow = error;
  if (error.status === 422) return;
  notice(`Image ${entry.id}: ${error.message} What you drew is kept in this browser.`);
}
var isAsked = false;
function askToSignIn() {
  if (isAsked) return;
  isAsked = true;
  const link = { text: "Sign in again", href: "/login?next=/label" };
  notice("You are signed out. Your answers are kept here, and sent after that.", link);
}
function lost(task, error) {
  notice(`Image ${task.id}: ${error.message}`);
  if (tasks.current?.task.id === task.id && !isBusy) void takeNext();
}
function drawn(box) {
  work.add({ box, label: nextClass, ignore: false });
}
function pick(name) {
  nextClass = name;
  if (work.item !== void 0 && work.item.label !== name) work.change({ label: name });
  showClasses(names, name, pick);
  byId("scroller").focus({ preventScroll: true });
}
function arrow(dx, dy, { sizes, fine }) {
  const { item } = work;
  if (item === void 0 || !isReady) return false;
  const { size } = canvas;
  const step = fine ? 1 : Math.max(1, Math.round(STEP_SHARE * Math.max(size.width, size.height)));
  const box = sizes ? sized(item.box, "se", dx * step, dy * step, size) : moved(item.box, dx * step, dy * step, size);
  work.change({ box: rounded(box) });
  return true;
}
var acts = {
  draw() {
    if (!isReady) return;
    const [x, y] = canvas.middle();
    const half = NEW_SHARE * Math.min(canvas.size.width, canvas.size.height) / 2;
    drawn(rounded([x - half, y - half, x + half, y + half]));
  },
  copy() {
    const { item } = work;
    if (item === void 0) return;
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
  keys: () => byId("keys-dialog").showModal(),
  classes: () => byId("class-list").focus(),
  submit: () => void answer("submit"),
  skip: () => void answer("skip"),
  reject() {
    if (tasks.current === null) return;
    byId("reject-note").value = "";
    byId("reject-dialog").showModal();
  }
};
var rejecting = byId("reject-dialog");
rejecting.addEventListener("close", () => {
  const note = byId("reject-note").value;
  if (rejecting.returnValue === "reject") void answer("reject", note);
  rejecting.returnValue = "";
});
for (const made of document.querySelectorAll("[data-do]")) {
  const name = made.dataset.do;
  made.addEventListener("click", () => acts[name]());
}
listen(
  (name) => acts[name](),
  (digit) => void (names[digit - 1] !== void 0 && pick(names[digit - 1])),
  arrow
);
outbox.addEventListener("changed", () => {
  const count = outbox.length;
  byId("unsent").textContent = count ? `· ${count} wait to be sent` : "";
});
kept.tidy();
void outbox.send().then(takeNext);

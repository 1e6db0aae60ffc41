// Keys: everything that the page can do, without a mouse.

export type Act =
  | "draw" | "copy" | "remove" | "ignore" | "undo" | "redo" | "next" | "before" | "none"
  | "closer" | "farther" | "fit" | "why" | "keys" | "classes" | "submit" | "skip" | "reject";

const PLAIN: Partial<Record<string, Act>> = {
  n: "draw", d: "copy", x: "remove", delete: "remove", backspace: "remove", i: "ignore",
  z: "undo", y: "redo", ".": "next", ",": "before", enter: "submit", s: "skip", r: "reject",
  "+": "closer", "=": "closer", "-": "farther", 0: "fit", w: "why", "?": "keys", c: "classes",
  escape: "none",
};
const ARROWS: Partial<Record<string, [number, number]>> = {
  arrowleft: [-1, 0], arrowright: [1, 0], arrowup: [0, -1], arrowdown: [0, 1],
};
const OWN_KEYS = "input, textarea, select, dialog";
/** Of these Enter and space are their own. */
const PRESSED = "button, a";

/**
 * @param onAct what a key is for
 * @param onClass 1 for the first
 * @param onArrow whether it was of use
 */
export function listen(
  onAct: (name: Act) => void,
  onClass: (digit: number) => void,
  onArrow: (dx: number, dy: number, how: { sizes: boolean; fine: boolean }) => boolean,
): void {
  document.addEventListener("keydown", (event) => {
    const target = event.target as HTMLElement;
    if (event.defaultPrevented || event.isComposing || target.closest(OWN_KEYS)) return;
    if (document.querySelector("dialog[open]")) return;
    const key = event.key.toLowerCase();
    if ((key === "enter" || key === " ") && target.closest(PRESSED)) return;
    const command = event.ctrlKey || event.metaKey;
    const arrow = ARROWS[key];
    if (arrow !== undefined && !event.altKey) {
      const how = { sizes: event.shiftKey, fine: command };
      if (onArrow(arrow[0], arrow[1], how)) event.preventDefault();
      return;
    }
    if (event.altKey || event.repeat) return;
    if (command) {
      const name = key === "z" ? (event.shiftKey ? "redo" : "undo") : key === "y" ? "redo" : null;
      if (name !== null) {
        event.preventDefault();
        onAct(name);
      }
      return;
    }
    if (/^[1-9]$/.test(key)) {
      event.preventDefault();
      onClass(Number(key));
      return;
    }
    const name = PLAIN[key];
    if (name !== undefined) {
      event.preventDefault();
      onAct(name);
    }
  });
}

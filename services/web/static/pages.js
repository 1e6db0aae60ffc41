// What every page has: requests of htmx bring the session's token, and live parts stay alive.
// @ts-check

const token = /** @type {HTMLMetaElement | null} */ (document.querySelector("meta[name=csrf]"));

document.addEventListener("htmx:configRequest", (event) => {
  const detail = /** @type {CustomEvent} */ (event).detail;
  if (token !== null) detail.headers["X-CSRF-Token"] = token.content;
});

/** Keep an element up to date with what the server sends, while anybody can see it: a browser has
 * few connections to one server, and a tab in the background must not hold one of them. */
function follow(/** @type {HTMLElement} */ element) {
  const status = document.getElementById("live-status");
  /** @type {EventSource | null} */
  let source = null;
  const tell = (/** @type {string} */ text) => {
    if (status !== null && status.textContent !== text) status.textContent = text;
  };
  const look = () => {
    if (document.visibilityState !== "visible") {
      source?.close();
      source = null;
    } else if (source === null) {
      source = new EventSource(/** @type {string} */ (element.dataset.live));
      source.addEventListener("figures", (event) => {
        // The server's own template, in which stored text is escaped.
        element.innerHTML = /** @type {MessageEvent} */ (event).data;
        tell("live");
      });
      source.onerror = () => tell("not connected: the figures may be old");
    }
  };
  document.addEventListener("visibilitychange", look);
  addEventListener("pagehide", () => source?.close());
  addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });
  look();
}

for (const element of document.querySelectorAll("[data-live]")) {
  follow(/** @type {HTMLElement} */ (element));
}
document.addEventListener("htmx:responseError", (event) => {
  const { target, xhr } = /** @type {CustomEvent} */ (event).detail;
  let said = `The server answered ${xhr.status}.`;
  try {
    said = JSON.parse(xhr.responseText).message ?? said;
  } catch { /* not ours: its number says what there is to say */ }
  const notice = document.createElement("p");
  notice.className = "notice bad";
  notice.setAttribute("role", "alert");
  notice.textContent = said;
  target.replaceChildren(notice);
});
document.addEventListener("submit", (event) => {
  const { confirm: question } = /** @type {HTMLElement} */ (event.target).dataset;
  if (question !== undefined && !confirm(question)) event.preventDefault();
}, true);
document.addEventListener("input", (event) => {
  const { output } = /** @type {HTMLElement} */ (event.target).dataset;
  const shown = output === undefined ? null : document.getElementById(output);
  if (shown !== null) shown.textContent = /** @type {HTMLInputElement} */ (event.target).value;
});
/** Presses what a key is named for, unless somebody writes, or holds another key with it. */
document.addEventListener("keydown", (event) => {
  const at = /** @type {HTMLElement} */ (event.target);
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (at.closest("input, select, textarea, [contenteditable]") !== null) return;
  if (!/^[a-z]$/.test(event.key)) return;
  const wanted = /** @type {HTMLElement | null} */ (
    document.querySelector(`[data-key="${event.key}"]`)
  );
  if (wanted === null) return;
  event.preventDefault();
  wanted.click();
});

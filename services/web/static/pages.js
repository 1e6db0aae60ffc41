// What every page has: requests of htmx bring the session's token, and live parts stay alive.
// @ts-check

const token = /** @type {HTMLMetaElement | null} */ (document.querySelector("meta[name=csrf]"));

document.addEventListener("htmx:configRequest", (event) => {
  const detail = /** @type {CustomEvent} */ (event).detail;
  if (token !== null) detail.headers["X-CSRF-Token"] = token.content;
});

/** Keep an element up to date with what the server sends; the browser connects again by itself. */
function follow(/** @type {HTMLElement} */ element) {
  const status = document.getElementById("live-status");
  const source = new EventSource(/** @type {string} */ (element.dataset.live));
  source.addEventListener("figures", (event) => {
    // The server's own template, in which stored text is escaped.
    element.innerHTML = /** @type {MessageEvent} */ (event).data;
    if (status !== null) status.textContent = "live";
  });
  source.onerror = () => {
    if (status !== null) status.textContent = "not connected: the figures may be old";
  };
  addEventListener("pagehide", () => source.close());
}

for (const element of document.querySelectorAll("[data-live]")) {
  follow(/** @type {HTMLElement} */ (element));
}
for (const element of document.querySelectorAll("form[data-confirm]")) {
  element.addEventListener("submit", (event) => {
    if (!confirm(/** @type {HTMLElement} */ (element).dataset.confirm)) event.preventDefault();
  });
}

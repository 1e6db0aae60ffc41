// Requests to the API: what it refuses is told from what never reached it.
// @ts-check

/** The server has refused it: sending it again changes nothing. */
export class Refused extends Error {
  /** @param {number} status @param {string} code @param {string} message */
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** It did not get through, or the server cannot answer now: it may be sent again. */
export class Unreachable extends Error {}

const AGAIN = [408, 425, 429];
const csrf = /** @type {HTMLMetaElement} */ (document.querySelector("meta[name=csrf]")).content;

/**
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body] of a POST, as JSON
 * @param {{keepalive?: boolean, waitMs?: number}} [how] keepalive: also while the page goes away
 * @returns {Promise<any>}
 */
export async function call(method, path, body, { keepalive = false, waitMs = 15000 } = {}) {
  let answer;
  try {
    answer = await fetch(path, {
      method,
      keepalive,
      headers: {
        Accept: "application/json", "Content-Type": "application/json", "X-CSRF-Token": csrf,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(waitMs),
    });
  } catch {
    throw new Unreachable("no connection");
  }
  const told = await answer.json().catch(() => ({}));
  if (answer.ok) return told;
  const message = told.message ?? `the server answers ${answer.status}`;
  if (answer.status >= 500 || AGAIN.includes(answer.status)) throw new Unreachable(message);
  throw new Refused(answer.status, told.code ?? "", message);
}

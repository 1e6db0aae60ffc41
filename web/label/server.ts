// Requests to the API: what it refuses is told from what never reached it.

/** The server has refused it: sending it again changes nothing. */
export class Refused extends Error {
  constructor(readonly status: number, readonly code: string, message: string) {
    super(message);
  }
}

/** It did not get through, or the server cannot answer now: it may be sent again. */
export class Unreachable extends Error {}

interface How {
  /** Also while the page goes away. */
  keepalive?: boolean;
  waitMs?: number;
}

const AGAIN = [408, 425, 429];
const csrf = (document.querySelector("meta[name=csrf]") as HTMLMetaElement).content;

/** What the server answers; a body is sent as JSON. */
export async function call<Answer>(
  method: string, path: string, body?: unknown, { keepalive = false, waitMs = 15000 }: How = {},
): Promise<Answer> {
  let answer: Response;
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
  if (answer.ok) return told as Answer;
  const message: string = told.message ?? `the server answers ${answer.status}`;
  if (answer.status >= 500 || AGAIN.includes(answer.status)) throw new Unreachable(message);
  throw new Refused(answer.status, told.code ?? "", message);
}

// Stored text, shown with nothing that turns or hides what stands beside it.

const OBEYED = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** Characters that a browser obeys become their codes, as in the pages that the server makes. */
export function shown(text: string): string {
  return text.replace(OBEYED, (mark) =>
    `\\u${(mark.codePointAt(0) ?? 0).toString(16).padStart(4, "0")}`);
}

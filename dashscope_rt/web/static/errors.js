// @ts-check
/**
 * What can go wrong in the browser, in words for the person in front of it. `code` is for programs:
 *
 *   insecure-origin      neither https nor localhost: browsers give no microphone there
 *   not-supported        the browser lacks AudioWorklet, WebSocket or getUserMedia
 *   not-loaded           worklet.js does not come from where this file does
 *   microphone-denied    microphone-missing   microphone-busy   microphone-lost      (camera-… likewise)
 *   no-images            the model takes no pictures
 *   unreachable          the first connection failed; later losses are mended, see the state "reconnecting"
 *   refused              the server does not want this page or user      busy      too many conversations at once
 *   gave-up              reconnecting was tried long enough
 *   not-open             something was sent while there is no conversation
 *   slow-connection      microphone audio was dropped because the network did not take it
 *   sound-stopped        the browser has stopped the page's sound; a tap on the page brings it back
 *   anything else        the server's own code, with its message
 */

export class VoiceError extends Error {
  /**
   * @param {string} code
   * @param {string} message A sentence or two: what is wrong, what to do.
   * @param {{fatal?: boolean, cause?: unknown}} more `fatal`: the conversation is over.
   */
  constructor(code, message, { fatal = false, cause } = {}) {
    super(message, { cause });
    this.name = "VoiceError";
    this.code = code;
    this.fatal = fatal;
  }
}

/**
 * @param {"microphone" | "camera"} device
 * @param {unknown} error What getUserMedia threw.
 * @returns {VoiceError}
 */
export function deviceError(device, error) {
  const name = error instanceof Error ? error.name : "";
  /** @param {string} what @param {string} sentence */
  const made = (what, sentence) =>
    new VoiceError(`${device}-${what}`, sentence, { fatal: device === "microphone", cause: error });
  if (name === "NotAllowedError" || name === "SecurityError") {
    return made(
      "denied",
      `The browser may not use the ${device}. Allow it in the browser's address bar or in the system's privacy settings, then try again.`,
    );
  }
  if (name === "NotFoundError" || name === "OverconstrainedError") {
    return made("missing", `No ${device} was found. Connect one, then try again.`);
  }
  if (name === "NotReadableError" || name === "AbortError") {
    return made("busy", `The ${device} cannot be opened. Another program may be using it: close that, then try again.`);
  }
  return made("missing", `The ${device} cannot be used: ${error instanceof Error ? error.message : error}`);
}

/**
 * Sees that this browser, on this page, can do what is needed.
 * @throws {VoiceError} insecure-origin, not-supported
 */
export function checkBrowser() {
  if (!globalThis.isSecureContext) {
    throw new VoiceError(
      "insecure-origin",
      "Browsers give the microphone only to pages that came over https, or from localhost. Open this page there.",
      { fatal: true },
    );
  }
  if (!globalThis.AudioWorkletNode || !globalThis.WebSocket || !navigator.mediaDevices?.getUserMedia) {
    throw new VoiceError("not-supported", "This browser is too old for talking. Use a current one.", { fatal: true });
  }
}

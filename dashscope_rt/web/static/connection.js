// @ts-check
/**
 * The WebSocket to the server: opened, lost, opened again.
 *
 * A lost connection is tried again after 0.5, 1, 2, 4, 8, 15, 15 … s (a bit less or more, so that not everybody comes
 * back at the same moment), at once when the network is there again. Each connection is a new session on the server.
 */
import { VoiceError } from "./errors.js";

const FIRST_DELAY_MS = 500;
const MOST_DELAY_MS = 15_000;
const BUSY_DELAY_MS = 5_000; // the server said: not now
const READY_MS = 25_000; // from dialling to "ready"; the server opens its own session in between
const GIVE_UP_MS = 5 * 60_000;
const STUCK_MS = 8_000; // no byte was taken for so long: the network is gone and nobody said so

export const HEADER_BYTES = 4;
export const KIND_AUDIO = 1;
export const KIND_PICTURE = 2;

/**
 * @typedef {object} Handlers
 * @property {() => object} hello The first frame of each connection.
 * @property {(ready: any) => void} ready The server's session is open.
 * @property {(message: any) => void} message A JSON frame.
 * @property {(turn: number, frame: ArrayBuffer) => void} audio A binary frame, header included.
 * @property {(attempt: number, delayMs: number, reason: string) => void} lost The connection is gone and will be tried again.
 * @property {(error: VoiceError | null) => void} over For good; null: politely.
 */

/** @param {string} reason */
function refused(reason) {
  const sentence = "The server has ended the conversation";
  return new VoiceError("refused", reason ? `${sentence}: ${reason}` : `${sentence}.`, { fatal: true });
}

function busy() {
  const sentence = "Too many people are talking with the model right now. Try again in a moment.";
  return new VoiceError("busy", sentence, { fatal: true });
}

/**
 * Why was there no connection? A refused upgrade looks the same as no server at all, because browsers do not tell pages
 * its HTTP status. The server answers a plain request for the same URL with the status that it has for the upgrade.
 * @param {string} url ws:// or wss://
 * @param {string} reason What the WebSocket said, if anything.
 */
async function whyNot(url, reason) {
  const answer = await fetch(url.replace("ws", "http"), { cache: "no-store" }).catch(() => null);
  if (answer?.status === 503) return busy();
  if (answer && answer.status !== 426) {
    const told = await answer.json().catch(() => ({}));
    const sentence = `The server does not let this page in: ${told.error ?? `status ${answer.status}`}`;
    return new VoiceError("refused", sentence, { fatal: true });
  }
  const sentence = answer
    ? "The connection was cut before the conversation began. Try again."
    : "The server does not answer. Is it running, and is this device online?";
  return new VoiceError("unreachable", reason ? `${sentence} (${reason})` : sentence, { fatal: true });
}

export class Connection {
  /**
   * @param {string} url ws:// or wss://
   * @param {Handlers} handlers
   */
  constructor(url, handlers) {
    this.url = url;
    this.handlers = handlers;
    /** @type {WebSocket | null} */
    this.socket = null;
    this.isReady = false;
    this.wasReady = false;
    this.ended = false;
    this.attempt = 0;
    this.lostAt = 0;
    /** @type {VoiceError | null} */
    this.problem = null; // the server's fatal error, told before it hangs up
    /** @type {{code: number, reason: string} | null} */
    this.farewell = null; // the server's "closed" frame: not every server gets its close code through
    this.takenAt = 0; // when the network last took something
    this.waiting = 0; // bytes it had not taken, as last seen
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    this.onOnline = () => {
      if (!this.socket && !this.ended) this.dial();
    };
  }

  /** Dial for the first time. What comes of it is told to the handlers. */
  open() {
    addEventListener("online", this.onOnline);
    this.dial();
  }

  /** End it politely: the server is told, and answers what is on its way no more. */
  close() {
    if (this.ended) return;
    if (this.isReady) this.send({ type: "stop" });
    this.finish(null);
  }

  /** @param {object} message @returns {boolean} Whether there is a session to send it to. */
  send(message) {
    if (!this.isReady || !this.socket) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }

  /**
   * Send a frame, unless the network has not taken what was sent before: what is late is of no use in a conversation.
   * @param {ArrayBuffer} frame With its header.
   * @param {number} mostWaiting Bytes that may wait before it.
   * @returns {boolean} False: there is no session, or the frame was dropped.
   */
  sendFrame(frame, mostWaiting) {
    if (!this.isReady || !this.socket) return false;
    const waiting = this.socket.bufferedAmount;
    const now = performance.now();
    if (waiting === 0 || waiting < this.waiting) this.takenAt = now;
    this.waiting = waiting;
    if (waiting > mostWaiting) {
      if (now - this.takenAt > STUCK_MS) this.hangUp();
      return false;
    }
    this.socket.send(frame);
    this.waiting = this.socket.bufferedAmount;
    return true;
  }

  /** Take the connection for lost, whatever the browser thinks of it. */
  hangUp() {
    const socket = this.socket;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
    this.gone(1006, "");
  }

  dial() {
    clearTimeout(this.timer);
    this.farewell = this.problem = null;
    const socket = new WebSocket(this.url);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => socket.send(JSON.stringify({ type: "start", version: 1, ...this.handlers.hello() }));
    socket.onmessage = ({ data }) => this.receive(data);
    socket.onclose = ({ code, reason }) => this.gone(code, reason);
    this.socket = socket;
    this.timer = setTimeout(() => this.hangUp(), READY_MS);
  }

  /** @param {string | ArrayBuffer} data */
  receive(data) {
    if (data instanceof ArrayBuffer) {
      const head = new DataView(data);
      if (data.byteLength > HEADER_BYTES && head.getUint8(0) === KIND_AUDIO) {
        this.handlers.audio(head.getUint16(2, true), data);
      }
      return;
    }
    const message = JSON.parse(data);
    if (message.type === "ready") {
      clearTimeout(this.timer);
      this.isReady = this.wasReady = true;
      this.attempt = 0;
      this.takenAt = performance.now();
      this.waiting = 0;
      this.handlers.ready(message);
    } else {
      if (message.type === "closed") this.farewell = message;
      if (message.type === "error" && message.fatal) this.problem = new VoiceError(message.code, message.message, { fatal: true });
      else this.handlers.message(message);
    }
  }

  /** @param {number} closeCode @param {string} closeReason */
  gone(closeCode, closeReason) {
    clearTimeout(this.timer);
    // Some servers may send only codes from 4000 on, and add 3000 to the others.
    const plain = closeCode >= 4000 ? closeCode - 3000 : closeCode;
    const { code, reason } = this.farewell ?? { code: plain, reason: closeReason };
    if (this.isReady) this.lostAt = performance.now();
    this.isReady = false;
    this.socket = null;
    if (this.ended) return;
    if (code === 1000) return this.finish(null);
    if (code === 1008 || code === 1009) return this.finish(this.problem ?? refused(reason));
    if (!this.wasReady) {
      const problem = this.problem ?? (code === 1013 ? busy() : null);
      if (problem) this.finish(problem);
      else void whyNot(this.url, reason).then((found) => this.finish(found));
      return;
    }
    if (performance.now() - this.lostAt > GIVE_UP_MS) {
      return this.finish(new VoiceError("gave-up", "The server could not be reached again. Start anew.", { fatal: true }));
    }
    const backoff = Math.min(MOST_DELAY_MS, FIRST_DELAY_MS * 2 ** this.attempt++);
    const delay = Math.max(backoff, code === 1013 ? BUSY_DELAY_MS : 0) * (0.8 + 0.4 * Math.random());
    this.handlers.lost(this.attempt, delay, this.problem?.message ?? reason);
    this.timer = setTimeout(() => this.dial(), delay);
  }

  /** @param {VoiceError | null} error */
  finish(error) {
    if (this.ended) return;
    this.ended = true;
    this.isReady = false;
    clearTimeout(this.timer);
    removeEventListener("online", this.onOnline);
    this.socket?.close(1000);
    this.socket = null;
    this.handlers.over(error);
  }
}

// @ts-check
/**
 * Talk with a realtime model through your own server (`dashscope_rt.web`): microphone, loudspeaker, camera, text.
 * An ES module without dependencies and without a build step. The API key stays on the server.
 * For browsers with AudioWorklet and private class members: Chromium, Firefox and Safari since 2021 or so.
 *
 *   import { Voice } from "./dashscope-rt.js";
 *
 *   const voice = new Voice("/voice");
 *   voice.addEventListener("transcript", ({ detail }) => (answer.textContent = detail.text));
 *   voice.addEventListener("error", ({ detail }) => (problem.textContent = detail.message));
 *   button.onclick = () => voice.start(); // in a click: browsers give microphone and sound only then
 *
 * Events (what is named `detail` is in `event.detail`):
 *
 *   state              {state, phase, attempt?, delayMs?, reason?, where?}; see `Voice.state` and `Voice.phase`
 *   input_transcript   {item, text, stash, final}          what you say; `stash` is a guess that may still change
 *   transcript         {turn, text, final}                 what the model says: the whole text so far
 *   response_started   {turn}      response_done   {turn, status, text, usage, latency_ms}
 *   latency            {turn, first_audio_ms, first_sound_ms}   from the end of your speech: at the server; at the ear
 *   played             {turn, ms, finished, flushed}       how much of the answer has sounded
 *   level              {input, output}                     0 to 1, about 25 times a second
 *   function_call      {turn, name, arguments}             for display: functions run on the server
 *   speech_started, speech_stopped, ready, closed          as they come from the server
 *   camera             {on, stream}                        `stream` for a preview
 *   error              a VoiceError: `code`, `message` in plain words, `fatal`
 *
 * Turn numbers go on counting over reconnections, so that they can serve as keys.
 */
import { Camera } from "./camera.js";
import { Connection } from "./connection.js";
import { VoiceError, checkBrowser } from "./errors.js";
import { Sound } from "./sound.js";

export { VoiceError } from "./errors.js";

const PLAYED_EVERY_MS = 200;
const MOST_WAITING_AUDIO_MS = 2000; // of microphone audio that the network has not taken; what comes then is dropped
const MOST_WAITING_PICTURE_BYTES = 64 * 1024;
const TURN_NUMBERS = 0x10000; // binary frames carry the low 16 bits of the turn

/**
 * @typedef {object} VoiceOptions
 * @property {number} [captureRate] Hz of what is sent (16,000, what the models listen to).
 * @property {number} [deviceRate] Hz of the AudioContext; leave it to the browser, except in tests.
 * @property {object} [options] Handed to your server's `configure` hook.
 */

export class Voice extends EventTarget {
  /** @type {"idle" | "connecting" | "open" | "reconnecting" | "closed"} */
  #state = "idle";
  /** @type {"listening" | "hearing" | "thinking" | "speaking"} */
  #phase = "listening";
  /** @type {Connection | null} */
  #connection = null;
  /** @type {Sound | null} */
  #sound = null;
  /** @type {Camera | null} */
  #camera = null;
  /** @type {any} */
  #ready = null;
  /** @type {((error?: VoiceError) => void) | null} Ends `start()`. */
  #started = null;
  #offset = 0; // added to the server's turn numbers: turns of the connections before this one
  #turn = 0; // the newest, counted over all connections
  #flushed = 0; // turns up to here are silent, whatever still comes of them
  #running = 0; // the turn whose response is not done; 0: none
  #sounding = 0; // the turn that sounds; 0: none
  /** @type {Set<number>} */
  #unheard = new Set(); // turns of which something is still to sound
  #askedAt = 0; // when you stopped speaking, or sent; performance.now()
  #askedAfter = -1; // the newest turn before that: a later one is the answer; -1: it has come
  #spokenAfter = 0; // the newest turn when you began to speak
  #playedAt = 0; // when the server was last told what has sounded
  #levels = { input: 0, output: 0 };
  #dropping = false;
  /** @type {Map<number, {first_audio_ms: number | null, first_sound_ms: number | null}>} */
  #latencies = new Map();
  /** @type {any} */
  #wakeLock = null;

  /**
   * @param {string} url The server's WebSocket; a path such as "/voice" will do.
   * @param {VoiceOptions} [options]
   */
  constructor(url, options = {}) {
    super();
    const absolute = new URL(url, location.href);
    absolute.protocol = absolute.protocol.replace("http", "ws");
    this.url = absolute.href;
    this.options = options;
    /** What was counted since `start()`. */
    this.stats = { framesSent: 0, framesDropped: 0, picturesSent: 0, picturesDropped: 0, reconnects: 0, holes: 0 };
  }

  /** Of the conversation: idle, connecting, open, reconnecting, closed. */
  get state() {
    return this.#state;
  }

  /** Whose turn it is while the state is open: listening, hearing (you speak), thinking, speaking (the model does). */
  get phase() {
    return this.#phase;
  }

  /** What the server said when the session opened: model, voice, mode, images, … or null. */
  get ready() {
    return this.#ready;
  }

  /** Whether the microphone is open, muted or not. */
  get listens() {
    return Boolean(this.#sound?.stream);
  }

  get muted() {
    return this.#sound?.muted ?? false;
  }

  /** The node through which all answers sound, for a visualisation or a recorder; null when there is no conversation. */
  get output() {
    return this.#sound?.output ?? null;
  }

  /**
   * Open microphone, loudspeaker and connection. Call it in a click or key handler.
   * @param {{microphone?: boolean}} what Without the microphone one types and listens.
   * @throws {VoiceError} It cannot be opened; `code` says why. There is an "error" event as well.
   */
  async start({ microphone = true } = {}) {
    if (this.#state === "connecting" || this.#state === "open" || this.#state === "reconnecting") return;
    for (const name of Object.keys(this.stats)) this.stats[name] = 0;
    this.#running = this.#sounding = 0;
    this.#askedAfter = -1;
    this.#unheard.clear();
    this.#enter("connecting", "listening");
    let sound = null;
    try {
      checkBrowser();
      sound = this.#makeSound(); // before anything is awaited: a gesture lasts only so long
      void this.#holdScreen();
      if (microphone) await sound.openMicrophone();
      if (sound.closed) return; // stopped meanwhile
      await this.#connect(sound);
    } catch (error) {
      if (sound?.closed) return; // stopped meanwhile: nobody waits for it
      const problem = error instanceof VoiceError ? error : new VoiceError("not-supported", String(error), { fatal: true, cause: error });
      this.#end();
      this.#emit("error", problem);
      throw problem;
    }
  }

  /** End the conversation and give back microphone and camera. */
  stop() {
    this.#connection?.close(); // which ends the rest, too
    this.#end();
  }

  /** Silence the answer that sounds, at once, and have the model stop. */
  interrupt() {
    this.#flush(this.#turn);
    this.#connection?.send({ type: "interrupt" });
    this.#running = 0;
    this.#askedAfter = -1;
    this.#settle();
  }

  /** @param {string} text What you would have said. @throws {VoiceError} not-open */
  sendText(text) {
    this.#send({ type: "text", text });
    this.#flush(this.#turn); // who types does not listen any more; the server stops the answer by itself
    this.#asked();
  }

  /** Push to talk: what was said since the last time is the question. @throws {VoiceError} not-open */
  commit() {
    this.#send({ type: "commit" });
    this.#asked();
  }

  /** @param {boolean} muted Whether the microphone gives silence. */
  mute(muted) {
    this.#sound?.mute(muted);
  }

  /**
   * Send what the camera sees, a frame a second.
   * @param {{intervalMs?: number, facingMode?: "user" | "environment"}} [options]
   * @throws {VoiceError} camera-denied, camera-missing, camera-busy, no-images, not-open. No "error" event besides.
   */
  async cameraOn(options) {
    if (this.#camera) return;
    if (!this.#ready) throw this.#notOpen();
    if (!this.#ready.images) throw new VoiceError("no-images", "This model does not take pictures.");
    const camera = new Camera((frame) => this.#sendPicture(frame), options);
    this.#camera = camera;
    camera.onlost = () => this.cameraOff();
    try {
      await camera.open();
    } catch (error) {
      this.#camera = null;
      throw error;
    }
    if (this.#camera === camera) this.#emit("camera", { on: true, stream: camera.stream });
    else camera.close(); // it was turned off meanwhile
  }

  cameraOff() {
    if (!this.#camera) return;
    this.#camera.close();
    this.#camera = null;
    this.#emit("camera", { on: false, stream: null });
  }

  // Opening and ending

  #makeSound() {
    this.#sound = new Sound(
      {
        frame: (frame, rms) => this.#heard(frame, rms),
        playback: (message) => this.#played(message),
        trouble: (error) => this.#emit("error", error),
        stopped: () => this.#emit("error", new VoiceError("sound-stopped", "The browser has stopped the sound. Tap the page to go on.")),
      },
      this.options,
    );
    return this.#sound;
  }

  /** @param {Sound} sound */
  #connect(sound) {
    return new Promise((resolve, reject) => {
      this.#started = (error) => (error ? reject(error) : resolve(undefined));
      this.#connection = new Connection(this.url, {
        hello: () => ({
          rate: sound.captureRate,
          ...(this.options.options === undefined ? {} : { options: this.options.options }),
        }),
        ready: (ready) => this.#opened(ready),
        message: (message) => this.#receive(message),
        audio: (turn, frame) => this.#receiveAudio(turn, frame),
        lost: (attempt, delayMs, reason) => this.#lost(attempt, delayMs, reason),
        over: (error) => this.#over(error),
      });
      this.#connection.open();
    });
  }

  async #opened(ready) {
    const before = this.#ready;
    this.#ready = ready;
    if (before?.output_rate !== ready.output_rate) await this.#sound?.openPlayback(ready.output_rate);
    if (!this.#sound || !this.#connection?.isReady) return; // stopped, or lost again, meanwhile
    this.#emit("ready", ready);
    this.#enter("open", this.#sounding ? "speaking" : "listening");
    this.#sound.watch();
    this.#started?.();
    this.#started = null;
  }

  #lost(attempt, delayMs, reason) {
    this.stats.reconnects += attempt === 1 ? 1 : 0;
    this.#sound?.tell("complete", this.#turn); // what has come of the answer is still played
    this.#running = 0;
    this.#askedAfter = -1;
    this.#offset = this.#turn;
    this.#enter("reconnecting", this.#phase, { attempt, delayMs, reason, where: "server" });
  }

  /** @param {VoiceError | null} error */
  #over(error) {
    const started = this.#started;
    this.#started = null;
    if (started && error) return started(error); // start() tells it
    started?.();
    this.#end();
    if (error) this.#emit("error", error);
  }

  #end() {
    const connection = this.#connection;
    this.#connection = null;
    connection?.close();
    this.cameraOff();
    this.#sound?.close();
    this.#sound = null;
    this.#ready = null;
    this.#offset = this.#flushed = this.#turn;
    this.#wakeLock?.release?.();
    this.#wakeLock = null;
    if (this.#state !== "closed") this.#enter("closed", "listening");
  }

  /** A phone that locks its screen takes the microphone away. Nothing depends on it: some browsers do not know it. */
  async #holdScreen() {
    try {
      const lock = await /** @type {any} */ (navigator).wakeLock?.request("screen");
      if (!lock) return;
      if (!this.#sound) return lock.release();
      this.#wakeLock = lock;
      lock.onrelease = () => {
        // It goes when the page is hidden; the next change is that the page is seen again.
        if (this.#sound) document.addEventListener("visibilitychange", () => this.#sound && this.#holdScreen(), { once: true });
      };
    } catch {
      this.#wakeLock = null; // low battery, or the page is in the background
    }
  }

  // What comes from the server

  #receive(message) {
    const { type, ...detail } = message;
    if (detail.turn !== undefined) {
      detail.turn += this.#offset;
      this.#turn = Math.max(this.#turn, detail.turn);
    }
    if (type === "error") {
      this.#askedAfter = -1; // an answer may not come
      this.#emit("error", new VoiceError(detail.code ?? "server", detail.message));
      this.#settle();
      return;
    }
    if (type === "flush") this.#flush(detail.turn);
    else if (type === "speech_started") this.#speaks();
    else if (type === "speech_stopped") this.#asked(this.#spokenAfter); // audio of the answer may overtake this message
    else if (type === "response_started") this.#responds(detail.turn);
    else if (type === "response_done") this.#responded(detail);
    else if (type === "reconnecting") this.#enter("reconnecting", this.#phase, { ...detail, where: "service" });
    else if (type === "reconnected") this.#enter("open", "listening");
    this.#emit(type, detail);
  }

  /** @param {number} low The turn's low 16 bits. @param {ArrayBuffer} frame */
  #receiveAudio(low, frame) {
    const newest = this.#turn - this.#offset;
    let turn = newest - (newest % TURN_NUMBERS) + low;
    if (turn > newest + TURN_NUMBERS / 2) turn -= TURN_NUMBERS; // late, from before the numbers began anew
    else if (turn < newest - TURN_NUMBERS / 2) turn += TURN_NUMBERS;
    turn += this.#offset;
    this.#turn = Math.max(this.#turn, turn);
    if (turn > this.#flushed) this.#unheard.add(turn); // what is late the worklet throws away
    this.#sound?.play(turn, frame);
  }

  #speaks() {
    this.#spokenAfter = this.#turn;
    this.#enter(this.#state, "hearing");
  }

  /** @param {number} turn */
  #responds(turn) {
    this.#running = turn;
    if (this.#phase !== "hearing") this.#enter(this.#state, this.#sounding ? "speaking" : "thinking");
  }

  #responded({ turn, latency_ms: latency }) {
    this.#sound?.tell("complete", turn);
    if (this.#running === turn) this.#running = 0;
    if (turn > this.#askedAfter) this.#askedAfter = -1;
    if (latency?.first_audio != null) this.#tellLatency(turn, "first_audio_ms", latency.first_audio);
    this.#settle();
  }

  /** @param {number} turn */
  #flush(turn) {
    if (turn <= this.#flushed) return;
    this.#flushed = turn;
    for (const each of this.#unheard) if (each <= turn) this.#unheard.delete(each);
    this.#sound?.tell("flush", turn);
  }

  // What goes to the server

  #send(message) {
    if (!this.#connection?.send(message)) throw this.#notOpen();
  }

  #notOpen() {
    const sentence = this.#state === "reconnecting" ? "The connection is being restored. Try again in a moment." : "There is no conversation yet. Start one first.";
    return new VoiceError("not-open", sentence);
  }

  /** @param {number} [after] The newest turn that is not the answer. */
  #asked(after = this.#turn) {
    const sounds = this.#sounding > after;
    this.#askedAt = sounds ? 0 : performance.now();
    this.#askedAfter = after;
    if (this.#state === "open") this.#enter("open", sounds ? "speaking" : "thinking");
  }

  /** @param {ArrayBuffer} frame @param {number} rms */
  #heard(frame, rms) {
    this.#levels.input = rms;
    this.#emit("level", { ...this.#levels });
    if (this.#state !== "open" || !this.#connection || !this.#sound) return;
    const bytesPerMs = (2 * this.#sound.captureRate) / 1000;
    const sent = this.#connection.sendFrame(frame, bytesPerMs * MOST_WAITING_AUDIO_MS);
    this.stats[sent ? "framesSent" : "framesDropped"]++;
    if (!sent && !this.#dropping) {
      this.#emit("error", new VoiceError("slow-connection", "The network is too slow: some of what you say is lost."));
    }
    this.#dropping = !sent;
  }

  /** @param {ArrayBuffer} frame */
  #sendPicture(frame) {
    const sent = this.#connection?.sendFrame(frame, MOST_WAITING_PICTURE_BYTES);
    this.stats[sent ? "picturesSent" : "picturesDropped"]++; // a newer one comes in a second
  }

  // What sounds

  #played(message) {
    const { type, turn, ms } = message;
    if (type === "started") {
      this.#sounding = turn;
      if (this.#askedAt && turn > this.#flushed) {
        this.#tellLatency(turn, "first_sound_ms", performance.now() - this.#askedAt + (this.#sound?.latencyMs ?? 0));
      }
      this.#askedAt = 0;
      if (this.#phase !== "hearing") this.#enter(this.#state, "speaking");
    } else if (type === "sounding") {
      this.#levels.output = message.rms;
      this.#emit("level", { ...this.#levels });
      // What the worklet has handed over is heard a little later.
      this.#tellPlayed(turn, Math.max(0, ms - (this.#sound?.latencyMs ?? 0)), { finished: false, flushed: false });
    } else if (type === "finished") {
      this.#levels.output = 0;
      this.#unheard.delete(turn);
      if (this.#sounding === turn) this.#sounding = 0;
      this.#tellPlayed(turn, ms, { finished: true, flushed: message.flushed });
      this.#settle();
    } else if (type === "hole") {
      this.#levels.output = 0;
      this.stats.holes++;
    } else if (type === "full") {
      this.#emit("error", new VoiceError("answer-too-long", "The answer is longer than this page can keep: its end is cut."));
    }
  }

  #tellPlayed(turn, ms, { finished, flushed }) {
    this.#emit("played", { turn, ms, finished, flushed });
    const now = performance.now();
    if (turn <= this.#offset || (!finished && now - this.#playedAt < PLAYED_EVERY_MS)) return;
    this.#playedAt = now;
    this.#connection?.send({ type: "played", turn: turn - this.#offset, ms: Math.round(ms) });
  }

  /** @param {number} turn @param {"first_audio_ms" | "first_sound_ms"} what @param {number} ms */
  #tellLatency(turn, what, ms) {
    const known = this.#latencies.get(turn) ?? { first_audio_ms: null, first_sound_ms: null };
    known[what] = Math.round(ms);
    this.#latencies.clear(); // only the newest is still of interest
    this.#latencies.set(turn, known);
    this.#emit("latency", { turn, ...known });
  }

  /** Nobody speaks any more? */
  #settle() {
    if (this.#phase === "hearing" || this.#unheard.size || this.#running || this.#askedAfter >= 0) return;
    this.#enter(this.#state, "listening");
  }

  // Telling

  #enter(state, phase, more = {}) {
    if (state === this.#state && phase === this.#phase && !Object.keys(more).length) return;
    this.#state = state;
    this.#phase = phase;
    this.#emit("state", { state, phase, ...more });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

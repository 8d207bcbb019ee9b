// @ts-check
/**
 * Microphone and loudspeaker: one AudioContext at the device's own rate with the two worklets of worklet.js.
 *
 * One context, not one for each rate, because Firefox connects no microphone to a context of another rate, and because
 * phones allow few of them. The worklets change the rates.
 */
import { VoiceError, deviceError } from "./errors.js";

const PATIENCE_MS = 500; // until a person is asked to do what the page could not do by itself

/** The canceller needs to hear what the page plays: all browsers take the loudspeaker's signal by themselves. */
const MICROPHONE = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 };

/**
 * @typedef {object} SoundHandlers
 * @property {(frame: ArrayBuffer, rms: number) => void} frame From the microphone.
 * @property {(message: any) => void} playback From the playback worklet, see there.
 * @property {(error: VoiceError) => void} trouble
 * @property {() => void} stopped The browser has stopped the page's sound and will not let it go on by itself.
 */

export class Sound {
  /**
   * Make it inside a click or key handler: phones start sound only there.
   * @param {SoundHandlers} handlers
   * @param {{deviceRate?: number, captureRate?: number}} rates Hz. `deviceRate`: of the AudioContext, for tests.
   */
  constructor(handlers, { deviceRate, captureRate } = {}) {
    this.handlers = handlers;
    const audioSession = /** @type {any} */ (navigator).audioSession;
    if (audioSession) audioSession.type = "play-and-record"; // Safari: the answer sounds with the ringer off, too
    this.context = new AudioContext({ latencyHint: "interactive", ...(deviceRate ? { sampleRate: deviceRate } : {}) });
    void this.context.resume(); // not awaited: without a gesture it stays pending
    this.captureRate = Math.min(captureRate ?? 16_000, this.context.sampleRate);
    /** @type {GainNode} All that sounds goes through it: for a visualisation, a volume control, a recorder. */
    this.output = this.context.createGain();
    this.output.connect(this.context.destination);
    this.loaded = this.context.audioWorklet.addModule(new URL("./worklet.js", import.meta.url)).catch((cause) => {
      throw new VoiceError("not-loaded", "A part of this page could not be loaded. Load the page again.", { fatal: true, cause });
    });
    this.loaded.catch(() => {}); // whoever awaits it hears of it; a refused microphone comes first
    /** @type {MediaStream | null} */
    this.stream = null;
    /** @type {AudioWorkletNode | null} */
    this.capture = null;
    /** @type {MediaStreamAudioSourceNode | null} */
    this.microphone = null;
    /** @type {AudioWorkletNode | null} */
    this.playback = null;
    /** @type {any[]} What came before the loudspeaker was ready. */
    this.early = [];
    this.muted = false;
    this.closed = false;
    this.wake = () => {
      if (this.context.state !== "running" && !this.closed) void this.context.resume();
    };
    this.context.onstatechange = () => this.watch();
    for (const gesture of ["pointerdown", "keydown", "visibilitychange"]) document.addEventListener(gesture, this.wake);
  }

  /** After a phone call, say, the sound must be told to go on; where the browser wants a gesture, the next one does it. */
  watch() {
    if (this.closed || this.context.state === "running") return;
    this.wake();
    setTimeout(() => {
      if (!this.closed && this.context.state !== "running") this.handlers.stopped();
    }, PATIENCE_MS);
  }

  /** How long after the worklet the loudspeaker sounds, ms; Safari does not tell all of it. */
  get latencyMs() {
    return 1000 * (this.context.outputLatency || this.context.baseLatency || 0);
  }

  /**
   * Ask for the microphone and open it.
   * @throws {VoiceError} microphone-denied, microphone-missing, microphone-busy
   */
  async openMicrophone() {
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: MICROPHONE });
    } catch (error) {
      throw deviceError("microphone", error);
    }
    await this.loaded;
    if (this.closed) {
      for (const track of stream.getTracks()) track.stop();
      return;
    }
    this.stream = stream;
    const [track] = stream.getAudioTracks();
    track.enabled = !this.muted;
    track.onended = () => void this.replaceMicrophone();
    this.capture ??= this.makeCapture();
    this.microphone?.disconnect();
    this.microphone = this.context.createMediaStreamSource(stream); // kept: Firefox collects what nobody holds
    this.microphone.connect(this.capture);
  }

  /** It was unplugged, or taken away: try the one that is the system's choice now. */
  async replaceMicrophone() {
    try {
      await this.openMicrophone();
    } catch (error) {
      const sentence = "The microphone is gone. Connect it again and start anew; typing still works.";
      this.handlers.trouble(new VoiceError("microphone-lost", sentence, { cause: error }));
    }
  }

  makeCapture() {
    const capture = new AudioWorkletNode(this.context, "dashscope-rt-capture", {
      processorOptions: { rate: this.captureRate },
    });
    capture.connect(this.context.destination); // it gives silence; not every browser runs what leads nowhere
    capture.port.onmessage = ({ data }) => this.handlers.frame(data.frame, data.rms);
    return capture;
  }

  /**
   * Make ready to play PCM of this rate.
   * @param {number} rate Hz
   */
  async openPlayback(rate) {
    await this.loaded;
    if (this.closed) return;
    this.playback?.port.postMessage({ type: "close" });
    this.playback?.disconnect();
    this.playback = new AudioWorkletNode(this.context, "dashscope-rt-playback", {
      numberOfInputs: 0,
      outputChannelCount: [1],
      processorOptions: { rate },
    });
    this.playback.port.onmessage = ({ data }) => this.handlers.playback(data);
    this.playback.connect(this.output);
    for (const message of this.early.splice(0)) this.post(message);
  }

  /** @param {number} turn @param {ArrayBuffer} frame Handed over: not to be used afterwards. */
  play(turn, frame) {
    this.post({ type: "audio", turn, frame });
  }

  /** @param {"complete" | "flush"} type @param {number} turn */
  tell(type, turn) {
    this.post({ type, turn });
  }

  /** @param {any} message */
  post(message) {
    if (this.playback) this.playback.port.postMessage(message, message.frame ? [message.frame] : []);
    else this.early.push(message);
  }

  /** Silence goes on being sent: the service needs it to notice the end of a sentence. @param {boolean} muted */
  mute(muted) {
    this.muted = muted;
    for (const track of this.stream?.getAudioTracks() ?? []) track.enabled = !muted;
  }

  /** Give back microphone and loudspeaker. */
  close() {
    if (this.closed) return;
    this.closed = true;
    for (const gesture of ["pointerdown", "keydown", "visibilitychange"]) document.removeEventListener(gesture, this.wake);
    for (const track of this.stream?.getTracks() ?? []) {
      track.onended = null;
      track.stop();
    }
    this.capture?.port.postMessage({ type: "close" });
    this.playback?.port.postMessage({ type: "close" });
    void this.context.close();
  }
}

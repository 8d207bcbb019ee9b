// @ts-check
/**
 * What runs on the browser's audio thread: the microphone's end and the loudspeaker's end.
 *
 *   microphone -> dashscope-rt-capture  -> frames of s16le at the rate asked for -> page -> server
 *   server -> page -> PCM with its turn -> dashscope-rt-playback -> loudspeaker
 *
 * Both are in one file without imports, because not every browser takes `import` inside a worklet. Nothing in
 * `process()` may wait or throw: the audio thread has 3 ms for 128 samples.
 */

const FRAME_KIND_AUDIO = 1;
const HEADER_BYTES = 4; // kind, 0, turn (uint16): four, so that the samples behind it are aligned

const CAPTURE_MS = 40; // of one frame to the server; also how often the level is told
const FADE_MS = 5; // long enough not to click, too short to be heard as a word
const REPORT_MS = 50; // how often the page is told what has sounded
const START_MS = 120; // buffered before a turn begins to sound: what a usual network jitters
const MOST_START_MS = 800; // the threshold doubles with each hole, up to this
const MOST_QUEUED_S = 900; // bounds the memory: 24,000 Hz for 15 minutes is 43 MB

const ZERO_CROSSINGS = 32; // half the low-pass filter's length; with the Kaiser window: -80 dB where nothing may pass
const CUTOFF = 0.92; // of the lower Nyquist frequency: flat up to 0.84, nothing from 1.0 on

/**
 * Changes the sample rate of a stream: a low-pass (windowed sinc) at the lower of both Nyquist frequencies, evaluated
 * only where an output sample is due. Memory and work are small: 44,100 to 16,000 Hz is three million products a second.
 */
class Resampler {
  /**
   * @param {number} from Hz
   * @param {number} to Hz
   */
  constructor(from, to) {
    let [a, b] = [Math.round(from), Math.round(to)];
    while (b) [a, b] = [b, a % b];
    this.up = Math.round(to) / a; // one output sample every down/up input samples
    this.down = Math.round(from) / a;
    this.same = this.up === this.down;
    const narrow = Math.min(1, this.up / this.down); // < 1 when the rate goes down: the filter gets longer
    const half = this.same ? 0 : Math.ceil(ZERO_CROSSINGS / narrow);
    this.taps = this.same ? 1 : 2 * half;
    this.phases = Array.from({ length: this.same ? 0 : this.up }, (_, phase) => {
      const taps = new Float32Array(this.taps);
      let sum = 0;
      for (let tap = 0; tap < this.taps; tap++) {
        const away = tap - (half - 1) - phase / this.up; // from the output sample, in input samples
        taps[tap] = sinc(away * narrow * CUTOFF) * kaiser(away / half);
        sum += taps[tap];
      }
      return taps.map((value) => value / sum); // constant input gives the same constant, whatever the phase
    });
    this.waiting = new Float32Array(4096);
    this.length = this.same ? 0 : half - 1; // zeros before the first sample: the filter's middle lies on it
    this.phase = 0;
  }

  /** @param {number} count Output samples. @returns {number} How many input samples are missing for them. */
  missing(count) {
    const reach = this.same ? count : Math.floor((this.phase + this.down * (count - 1)) / this.up) + this.taps;
    return Math.max(0, reach - this.length);
  }

  /** @returns {number} How many output samples can be taken now. */
  get ready() {
    if (this.same) return this.length;
    const room = this.length - this.taps;
    return room < 0 ? 0 : Math.floor((room * this.up + this.up - 1 - this.phase) / this.down) + 1;
  }

  /** @param {Float32Array} samples */
  push(samples) {
    if (this.length + samples.length > this.waiting.length) {
      const larger = new Float32Array(2 * (this.length + samples.length));
      larger.set(this.waiting.subarray(0, this.length));
      this.waiting = larger;
    }
    this.waiting.set(samples, this.length);
    this.length += samples.length;
  }

  /** @param {Float32Array} into Filled completely; at most `ready` long. */
  take(into) {
    let place = 0;
    if (this.same) {
      into.set(this.waiting.subarray(0, into.length));
      place = into.length;
    } else {
      for (let index = 0; index < into.length; index++) {
        const taps = this.phases[this.phase];
        let sum = 0;
        for (let tap = 0; tap < this.taps; tap++) sum += taps[tap] * this.waiting[place + tap];
        into[index] = sum;
        this.phase += this.down;
        place += Math.floor(this.phase / this.up);
        this.phase %= this.up;
      }
    }
    this.waiting.copyWithin(0, place, this.length);
    this.length -= place;
  }
}

/** @param {number} x */
function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

/** The Kaiser window (beta 8). @param {number} x From -1 to 1. */
function kaiser(x) {
  return Math.abs(x) >= 1 ? 0 : bessel(8 * Math.sqrt(1 - x * x)) / bessel(8);
}

/** I0, the modified Bessel function. @param {number} x */
function bessel(x) {
  let [sum, term] = [1, 1];
  for (let k = 1; term > 1e-9 * sum; k++) {
    term *= (x / 2 / k) ** 2;
    sum += term;
  }
  return sum;
}

/**
 * Microphone samples to frames that can be sent as they are.
 *
 * Options (`processorOptions`): `rate`, Hz of the frames. Out: `{frame: ArrayBuffer, rms}` every 40 ms; `rms` is 0 to 1.
 */
class Capture extends AudioWorkletProcessor {
  constructor(options) {
    super();
    this.rate = options.processorOptions.rate;
    this.resampler = new Resampler(sampleRate, this.rate);
    this.made = new Float32Array(Math.round((this.rate * CAPTURE_MS) / 1000));
    this.mono = new Float32Array(128);
    this.open = true;
    this.port.onmessage = () => (this.open = false);
  }

  process(inputs) {
    const channels = inputs[0];
    if (channels.length) {
      this.resampler.push(this.mixed(channels));
      while (this.resampler.ready >= this.made.length) {
        this.resampler.take(this.made);
        this.post(this.made);
      }
    }
    return this.open;
  }

  /** @param {Float32Array[]} channels @returns {Float32Array} Their average. */
  mixed(channels) {
    if (channels.length === 1) return channels[0];
    if (this.mono.length !== channels[0].length) this.mono = new Float32Array(channels[0].length);
    this.mono.fill(0);
    for (const channel of channels) {
      for (let index = 0; index < channel.length; index++) this.mono[index] += channel[index] / channels.length;
    }
    return this.mono;
  }

  /** @param {Float32Array} samples */
  post(samples) {
    const frame = new ArrayBuffer(HEADER_BYTES + 2 * samples.length);
    new Uint8Array(frame)[0] = FRAME_KIND_AUDIO;
    const pcm = new Int16Array(frame, HEADER_BYTES);
    let power = 0;
    for (let index = 0; index < samples.length; index++) {
      const value = Math.max(-1, Math.min(1, samples[index]));
      power += value * value;
      pcm[index] = Math.round(value * 32767);
    }
    this.port.postMessage({ frame, rms: Math.sqrt(power / samples.length) }, [frame]);
  }
}

/**
 * One answer on its way to the loudspeaker.
 *
 * @typedef {object} Turn
 * @property {number} turn
 * @property {Int16Array[]} chunks What has not sounded.
 * @property {number} offset Samples of the first chunk that have.
 * @property {number} queued Samples in `chunks` that have not sounded.
 * @property {number} played Samples that have.
 * @property {boolean} complete Nothing more will come.
 * @property {boolean} flushed What is left is only its fade-out.
 */

/**
 * Answers to sound, one after the other, in the order of their turns.
 *
 * Options: `rate`, Hz of the PCM that will come. In:
 *   {type: "audio", turn, frame}   ArrayBuffer as it came from the server, header included
 *   {type: "complete", turn}       nothing more comes of this turn and those before: a short rest need not wait
 *   {type: "flush", turn}          silence, now, for this turn and those before; what still comes of them is thrown away
 *   {type: "close"}
 * Out (`ms` of the turn that went to the loudspeaker; `rms` 0 to 1):
 *   {type: "started", turn}, {type: "sounding", turn, ms, rms} every 50 ms, {type: "finished", turn, ms, flushed},
 *   {type: "hole", turn, ms} when nothing was there in time, {type: "full", turn} when more came than is kept.
 */
class Playback extends AudioWorkletProcessor {
  constructor(options) {
    super();
    this.rate = options.processorOptions.rate;
    this.resampler = new Resampler(this.rate, sampleRate);
    this.source = new Float32Array(256);
    this.fade = Math.round((this.rate * FADE_MS) / 1000);
    this.threshold = this.samples(START_MS);
    this.reportEvery = this.samples(REPORT_MS);
    /** @type {Turn[]} */
    this.turns = [];
    this.flushedThrough = -1;
    this.sounding = false; // the first of `turns` sounds; else it waits for the threshold
    this.gain = 1;
    this.rest = 0; // output samples until the filter has let out the last input: then there is nothing to compute
    this.power = 0;
    this.reported = 0; // source samples since the last report
    this.open = true;
    this.port.onmessage = ({ data }) => this.receive(data);
  }

  /** @param {number} ms */
  samples(ms) {
    return Math.round((this.rate * ms) / 1000);
  }

  /** @param {Turn} turn */
  ms(turn) {
    return (turn.played / this.rate) * 1000;
  }

  receive(message) {
    if (message.type === "audio") this.add(message.turn, new Int16Array(message.frame, HEADER_BYTES));
    else if (message.type === "complete") this.complete(message.turn);
    else if (message.type === "flush") this.flush(message.turn);
    else this.open = false;
  }

  /** @param {number} number @param {Int16Array} pcm */
  add(number, pcm) {
    if (number <= this.flushedThrough || !pcm.length) return;
    let turn = this.turns.find((known) => known.turn === number);
    if (!turn) {
      if (this.turns.some((known) => known.turn > number)) return; // it would sound out of order
      this.complete(number - 1); // a later turn has begun, so that nothing more comes of those before
      turn = { turn: number, chunks: [], offset: 0, queued: 0, played: 0, complete: false, flushed: false };
      this.turns.push(turn);
    }
    if (turn.queued > this.rate * MOST_QUEUED_S) {
      this.port.postMessage({ type: "full", turn: number });
      return;
    }
    turn.chunks.push(pcm);
    turn.queued += pcm.length;
  }

  /** @param {number} through */
  complete(through) {
    for (const turn of this.turns) if (turn.turn <= through && !turn.flushed) turn.complete = true;
  }

  /** @param {number} through */
  flush(through) {
    this.flushedThrough = Math.max(this.flushedThrough, through);
    const kept = [];
    for (const [index, turn] of this.turns.entries()) {
      if (turn.turn > through || turn.flushed) {
        kept.push(turn);
      } else if (index === 0 && this.sounding) {
        turn.flushed = true; // `next` takes it down to nothing within the fade
        turn.complete = false;
        turn.queued = Math.min(turn.queued, this.fade);
        kept.push(turn);
      } else {
        this.port.postMessage({ type: "finished", turn: turn.turn, ms: this.ms(turn), flushed: true });
        if (index === 0) this.sounding = false;
      }
    }
    this.turns = kept;
  }

  process(_inputs, outputs) {
    const out = outputs[0][0];
    if (!this.sounding && !this.begin() && this.rest <= 0) return this.open; // `out` is silent already
    const missing = this.resampler.missing(out.length);
    if (missing) {
      if (this.source.length < missing) this.source = new Float32Array(missing);
      const source = this.source.subarray(0, missing);
      for (let index = 0; index < missing; index++) source[index] = this.next();
      this.resampler.push(source);
    }
    this.resampler.take(out);
    this.rest -= out.length;
    for (let channel = 1; channel < outputs[0].length; channel++) outputs[0][channel].set(out);
    return this.open;
  }

  /** @returns {boolean} Whether the first turn sounds from now on. */
  begin() {
    while (this.turns.length) {
      const first = this.turns[0];
      if (first.queued && (first.complete || first.queued >= this.threshold)) {
        if (!first.played) this.port.postMessage({ type: "started", turn: first.turn });
        this.gain = first.played ? 0 : 1; // after a hole it comes back softly; a beginning is given as it is
        this.sounding = true;
        return true;
      }
      if (first.queued || !first.complete) return false;
      this.finish(first);
    }
    return false;
  }

  /** @returns {number} The next sample of the stream; silence when there is none. */
  next() {
    if (!this.sounding && !this.begin()) return 0;
    const turn = this.turns[0];
    const chunk = turn.chunks[0];
    const value = chunk[turn.offset++] / 32768;
    if (turn.offset === chunk.length) {
      turn.chunks.shift();
      turn.offset = 0;
    }
    turn.queued--;
    turn.played++;
    // Down before it runs dry and when it is flushed, up again when there is more.
    const aim = turn.complete || turn.queued >= this.fade ? 1 : 0;
    if (turn.flushed) this.gain = Math.max(0, this.gain - 1 / this.fade);
    else if (this.gain !== aim) this.gain = Math.max(0, Math.min(1, this.gain + (aim ? 1 : -1) / this.fade));
    const sample = value * this.gain;
    this.report(turn, sample);
    if (!turn.queued) this.dry(turn);
    this.rest = this.resampler.taps * Math.ceil(this.resampler.up / this.resampler.down) + 128;
    return sample;
  }

  /** Nothing is left of the turn that sounds. @param {Turn} turn */
  dry(turn) {
    if (turn.complete || turn.flushed) {
      this.threshold = Math.max(this.samples(START_MS), Math.round(0.8 * this.threshold));
      this.finish(turn);
      return;
    }
    this.sounding = false;
    this.threshold = Math.min(this.samples(MOST_START_MS), 2 * this.threshold);
    this.port.postMessage({ type: "hole", turn: turn.turn, ms: this.ms(turn) });
  }

  /** @param {Turn} turn */
  finish(turn) {
    this.turns.shift();
    this.sounding = false;
    this.reported = this.power = 0;
    this.port.postMessage({ type: "finished", turn: turn.turn, ms: this.ms(turn), flushed: turn.flushed });
  }

  /** @param {Turn} turn @param {number} sample */
  report(turn, sample) {
    this.power += sample * sample;
    if (++this.reported < this.reportEvery) return;
    const rms = Math.sqrt(this.power / this.reported);
    this.port.postMessage({ type: "sounding", turn: turn.turn, ms: this.ms(turn), rms });
    this.reported = this.power = 0;
  }
}

registerProcessor("dashscope-rt-capture", Capture);
registerProcessor("dashscope-rt-playback", Playback);

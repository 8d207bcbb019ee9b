// @ts-check
/**
 * The camera: single JPEG frames, as the service takes them (at most about one a second, at most 190 KB each).
 */
import { HEADER_BYTES, KIND_PICTURE } from "./connection.js";
import { deviceError } from "./errors.js";

const MOST_BYTES = 190_000; // 256 KB as Base64, which is what the service counts
const LONG_SIDE = 960; // pixels: 480p to 720p is what the models are made for
const QUALITIES = [0.75, 0.6, 0.4, 0.25];

export class Camera {
  /**
   * @param {(frame: ArrayBuffer) => void} send Gets each frame with its header.
   * @param {{intervalMs?: number, facingMode?: "user" | "environment"}} options Which camera of a phone, how often.
   */
  constructor(send, { intervalMs = 1000, facingMode = "environment" } = {}) {
    this.send = send;
    this.intervalMs = Math.max(500, intervalMs); // the service wants no more than two a second
    this.facingMode = facingMode;
    /** @type {MediaStream | null} For a preview: `video.srcObject = camera.stream`. */
    this.stream = null;
    this.video = document.createElement("video");
    this.video.muted = this.video.playsInline = true; // else iOS opens it on the whole screen
    this.canvas = document.createElement("canvas");
    /** @type {ReturnType<typeof setInterval> | undefined} */
    this.timer = undefined;
    /** @type {() => void} Called when the camera is taken away. */
    this.onlost = () => {};
  }

  /** @throws {import("./errors.js").VoiceError} camera-denied, camera-missing, camera-busy */
  async open() {
    try {
      const video = { facingMode: this.facingMode, width: { ideal: 1280 }, height: { ideal: 720 } };
      this.stream = await navigator.mediaDevices.getUserMedia({ video });
      this.video.srcObject = this.stream;
      await this.video.play();
    } catch (error) {
      this.close();
      throw deviceError("camera", error);
    }
    this.stream.getVideoTracks()[0].onended = () => this.onlost();
    this.timer = setInterval(() => void this.shoot(), this.intervalMs);
    await this.shoot();
  }

  /** Take one frame and send it. */
  async shoot() {
    const { videoWidth, videoHeight } = this.video;
    if (!videoWidth || !this.stream) return;
    const scale = Math.min(1, LONG_SIDE / Math.max(videoWidth, videoHeight));
    this.canvas.width = Math.round(videoWidth * scale);
    this.canvas.height = Math.round(videoHeight * scale);
    this.canvas.getContext("2d")?.drawImage(this.video, 0, 0, this.canvas.width, this.canvas.height);
    for (const quality of QUALITIES) {
      /** @type {Blob | null} */
      const jpeg = await new Promise((made) => this.canvas.toBlob(made, "image/jpeg", quality));
      if (!jpeg || jpeg.size > MOST_BYTES) continue;
      const frame = new Uint8Array(HEADER_BYTES + jpeg.size);
      frame[0] = KIND_PICTURE;
      frame.set(new Uint8Array(await jpeg.arrayBuffer()), HEADER_BYTES);
      if (this.stream) this.send(frame.buffer);
      return;
    }
  }

  close() {
    clearInterval(this.timer);
    for (const track of this.stream?.getTracks() ?? []) {
      track.onended = null;
      track.stop();
    }
    this.stream = null;
    this.video.srcObject = null;
  }
}

// Records what a page plays: everything that goes through `voice.output`, from now on. For tests.
window.record = async (voice) => {
  const { context } = voice.output;
  const code = `registerProcessor("recorder", class extends AudioWorkletProcessor {
    process([input]) {
      if (input.length) this.port.postMessage({ at: currentFrame, samples: input[0].slice() });
      return true;
    }
  });`;
  await context.audioWorklet.addModule(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
  const node = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0 });
  const blocks = [];
  node.port.onmessage = ({ data }) => blocks.push(data);
  voice.output.connect(node);
  window.recording = {
    rate: context.sampleRate,
    now: () => Math.round(context.currentTime * context.sampleRate),
    // The samples as Base64 of Float32, and the frame number of the first. What was not recorded is silence.
    take() {
      if (!blocks.length) return { rate: context.sampleRate, first: 0, samples: "" };
      const first = blocks[0].at;
      const last = blocks.at(-1);
      const all = new Float32Array(last.at - first + last.samples.length);
      for (const { at, samples } of blocks) all.set(samples, at - first);
      const bytes = new Uint8Array(all.buffer);
      let binary = "";
      for (let place = 0; place < bytes.length; place += 32768) {
        binary += String.fromCharCode(...bytes.subarray(place, place + 32768));
      }
      return { rate: context.sampleRate, first, samples: btoa(binary) };
    },
    // How far it is recorded; the page learns of it a little later than `now` says.
    until: () => (blocks.length ? blocks.at(-1).at + blocks.at(-1).samples.length : 0),
  };
};

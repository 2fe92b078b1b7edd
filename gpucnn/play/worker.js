"use strict";
/* Runs in a Worker, after network.js and image_input.js: holds the network, and does what page.js asks for through runner.js. */

let network = null;

const JOBS = {
  /** Take a model's network in place of the last one. */
  load({ model }) {
    network = null; // also where the new one is too large
    network = new Network(model);
  },

  /** Run an image through: the logits, the maps that are wanted, and Grad-CAM. `wanted` has {node, first, count}. */
  run({ input, wanted, cam }) {
    const outputs = network.forward(input);
    const found = { logits: outputs[outputs.length - 1].data.slice(), maps: wanted.map((one) => planesOf(outputs, one)), cam: null };
    if (cam) {
      const label = cam.label ?? found.logits.indexOf(Math.max(...found.logits)), [, , height, width] = outputs[cam.node].shape;
      found.cam = { label, height, width, heat: network.gradCam(label, cam.node) };
    }
    return found;
  },

  explain({ node, channel, y, x }) {
    return network.explain(node, channel, y, x);
  },

  /** The raw bytes of an ImageBitmap, see rawOf in image_input.js: of many pixels a matter of seconds. */
  prepare({ bitmap, how, background }) {
    const { width, height } = bitmap, context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    return rawOf(context.getImageData(0, 0, width, height), how, background);
  },
};

/** `count` maps of a node from `first` on, or all numbers of a vector; and of each pixel whether a pooling after it keeps it. */
function planesOf(outputs, { node, first, count }) {
  const { data, shape } = outputs[node], size = shape.length === 4 ? shape[2] * shape[3] : 1, [from, end] = [first * size, (first + count) * size];
  let most = 0;
  for (const value of data) if (Math.abs(value) > most) most = Math.abs(value);
  const pooling = network.nodes.findIndex((one, place) => one.inputs[0] === node && outputs[place].winners);
  let kept = null;
  if (pooling >= 0) {
    kept = new Uint8Array(end - from);
    for (const winner of outputs[pooling].winners) if (winner >= from && winner < end) kept[winner - from] = 1;
  }
  return { node, first, most, data: data.slice(from, end), kept };
}

onmessage = ({ data: { id, job, details } }) => {
  try {
    postMessage({ id, result: JOBS[job](details) });
  } catch (error) {
    postMessage({ id, error: error.message });
  }
};

"use strict";
/* From the pixels of an image to what the network takes: what gpucnn's data/image_file.py and data/preprocess.py do, number by number.

     rawOf(image, how)      {width, height, data: RGBA bytes} as bytes (channels, native_size, native_size)
     inputOf(raw, how)      these as float32 (channels, image_size, image_size)

   `how` is the run's Preprocess. Images are resized as Pillow does it, in whole numbers, so that the same file gives the
   same answer here and in `gpucnn predict`.
*/

/** The image on its background, in grey or colour, fitted to the native size, in steps from 0 to full scale. */
function rawOf(image, how, background = "auto") {
  const opaque = onBackground(image, background);
  const planes = how.channels === 1 ? [grey(opaque)] : [0, 1, 2].map((band) => bandOf(opaque, band));
  const size = how.native_size, scale = how.full_scale / 255;
  const raw = new Uint8Array(how.channels * size * size);
  for (const [channel, pixels] of planes.entries()) {
    const plane = { width: image.width, height: image.height, pixels };
    const fitted = how.fit === "crop" ? centreCrop(plane, size) : squeeze(plane, size);
    raw.set(fitted.map((value) => halfToEven(value * scale)), channel * size * size);
  }
  return raw;
}

/** Raw bytes over their full scale, resized or with a margin to the network's size, and normalised. */
function inputOf(raw, { channels, native_size: native, image_size: size, full_scale: scale, fit, mean, std }) {
  const input = new Float32Array(channels * size * size), margin = Math.floor((size - native) / 2);
  const places = fit === "resize" ? bilinear(native, size) : null;
  for (let channel = 0; channel < channels; channel++) {
    const plane = Float32Array.from(raw.subarray(channel * native * native, (channel + 1) * native * native), (value) => value / scale);
    for (let y = 0; y < size; y++) {
      for (let x = 0; x < size; x++) {
        const value = places ? between(plane, native, places[y], places[x]) : inside(plane, native, y - margin, x - margin);
        input[(channel * size + y) * size + x] = mean ? (value - Math.fround(mean[channel])) / Math.fround(std[channel]) : value;
      }
    }
  }
  return input;
}

/** Light and dark turned round. */
function inverted(raw, { full_scale: scale }) {
  return raw.map((value) => scale - value);
}

/** Whether a raw image is light as a whole, and at its edge: ink on paper, not chalk on a board. */
function isDarkOnLight(raw, { channels, native_size: size }) {
  const pixels = Array.from({ length: size * size }, (_, place) => {
    let sum = 0;
    for (let channel = 0; channel < channels; channel++) sum += raw[channel * size * size + place];
    return sum / channels;
  });
  const middle = (Math.min(...pixels) + Math.max(...pixels)) / 2;
  const onEdge = (place) => [0, size - 1].includes(place % size) || [0, size - 1].includes(Math.floor(place / size));
  const edge = pixels.filter((_, place) => onEdge(place)).sort((a, b) => a - b), half = edge.length >> 1;
  const median = edge.length % 2 ? edge[half] : (edge[half - 1] + edge[half]) / 2;
  return pixels.reduce((sum, value) => sum + value, 0) / pixels.length > middle && median > middle;
}

/* Colours */

function luma(r, g, b) {
  return (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16;
}

function grey({ data }) {
  const found = new Uint8Array(data.length / 4);
  for (let place = 0, at = 0; at < data.length; place++, at += 4) found[place] = luma(data[at], data[at + 1], data[at + 2]);
  return found;
}

function bandOf({ data }, band) {
  const found = new Uint8Array(data.length / 4);
  for (let place = 0, at = band; at < data.length; place++, at += 4) found[place] = data[at];
  return found;
}

/** The image without transparent parts. What is behind them is, by default, white where most of what is to be seen is dark. */
function onBackground(image, background) {
  const data = image.data;
  let dark = 0, all = 0;
  for (let at = 0; at < data.length; at += 4) {
    all += data[at + 3];
    if (luma(data[at], data[at + 1], data[at + 2]) < 128) dark += data[at + 3];
  }
  if (all === 255 * (data.length / 4)) return image;
  const behind = background === "white" || (background === "auto" && 2 * dark > all) ? 255 : 0;
  const opaque = new Uint8ClampedArray(data);
  for (let at = 0; at < data.length; at += 4) {
    const share = data[at + 3] * 128;
    for (let band = at; band < at + 3; band++) {
      const mixed = data[band] * share + behind * (255 * 128 - share) + (0x80 << 7);
      opaque[band] = data[at + 3] ? (((mixed >> 8) + mixed) >> 8) >> 7 : behind;
    }
    opaque[at + 3] = 255;
  }
  return { ...image, data: opaque };
}

/* Sizes, as Pillow has them */

function squeeze(plane, size) {
  return resized(plane, { left: 0, top: 0, width: plane.width, height: plane.height }, size, plane.width > size ? BOX : TRIANGLE);
}

/** The largest square in the middle, as Pillow's ImageOps.fit cuts it out. */
function centreCrop(plane, size) {
  const side = Math.min(plane.width, plane.height);
  const box = { left: (plane.width - side) * 0.5, top: (plane.height - side) * 0.5, width: side, height: side };
  return resized(plane, box, size, TRIANGLE);
}

const BOX = { reach: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) };
const TRIANGLE = { reach: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) };
const PRECISION = 2 ** 22;

/** What `box` has of a plane, at size x size: first along columns, then along rows, rounded to bytes after each: Pillow's order from version 13 on. */
function resized({ width, height, pixels }, box, size, filter) {
  const needsRows = size !== height || box.top !== 0 || box.height !== height;
  const needsColumns = size !== width || box.left !== 0 || box.width !== width;
  const lines = needsRows ? size : height;
  const down = needsRows ? alongColumns(pixels, width, shares(height, box.top, box.height, size, filter)) : pixels;
  return needsColumns ? alongRows(down, width, lines, shares(width, box.left, box.width, size, filter)) : down;
}

/** For each of `size` new pixels, the first old one that counts, and how much each counts, in whole parts of PRECISION. */
function shares(length, start, extent, size, filter) {
  const step = extent / size, scale = Math.max(step, 1), reach = filter.reach * scale;
  return Array.from({ length: size }, (_, at) => {
    const centre = start + (at + 0.5) * step;
    const first = Math.max(Math.trunc(centre - reach + 0.5), 0), end = Math.min(Math.trunc(centre + reach + 0.5), length);
    const weights = Array.from({ length: end - first }, (_, tap) => filter.weight((tap + first - centre + 0.5) * (1 / scale)));
    const whole = 1 / (weights.reduce((a, b) => a + b, 0) || 1);
    return { first, weights: weights.map((weight) => Math.trunc(weight * whole * PRECISION + 0.5)) };
  });
}

/** A new row of pixels for each of `parts`, from the old rows that it names. */
function alongColumns(pixels, width, parts) {
  const found = new Uint8ClampedArray(parts.length * width);
  parts.forEach(({ first, weights }, row) => {
    for (let x = 0; x < width; x++) found[row * width + x] = weighed(pixels, first * width + x, width, weights);
  });
  return found;
}

/** In each of `height` rows a new pixel for each of `parts`, from the old pixels that it names. */
function alongRows(pixels, width, height, parts) {
  const found = new Uint8ClampedArray(height * parts.length);
  for (let y = 0; y < height; y++) {
    parts.forEach(({ first, weights }, x) => {
      found[y * parts.length + x] = weighed(pixels, y * width + first, 1, weights);
    });
  }
  return found;
}

/** The sum of pixels from `start` on, each `step` after the last, times their weights; in whole numbers, half a step up. */
function weighed(pixels, start, step, weights) {
  let sum = PRECISION / 2;
  for (let tap = 0; tap < weights.length; tap++) sum += pixels[start + tap * step] * weights[tap];
  return Math.floor(sum / PRECISION);
}

function halfToEven(value) {
  const below = Math.floor(value), rest = value - below;
  return rest === 0.5 ? below + (below % 2) : Math.round(value);
}

/* From native to image size */

/** Of each new pixel the old one to its left, and the share of the next one. */
function bilinear(native, size) {
  return Array.from({ length: size }, (_, at) => {
    const centre = Math.min(Math.max(((at + 0.5) * native) / size - 0.5, 0), native - 1), low = Math.floor(centre);
    return { low, high: Math.min(low + 1, native - 1), share: Math.fround(centre - low) };
  });
}

function between(plane, native, row, column) {
  const along = (x) => Math.fround(plane[row.low * native + x] * Math.fround(1 - row.share)) + Math.fround(plane[row.high * native + x] * row.share);
  return along(column.low) * Math.fround(1 - column.share) + along(column.high) * column.share;
}

function inside(plane, native, y, x) {
  return y >= 0 && y < native && x >= 0 && x < native ? plane[y * native + x] : 0;
}

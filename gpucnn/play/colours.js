"use strict";
/* How numbers become colours: orange above zero, blue below, so that colour-blind eyes tell them apart, too.

     colourOf(share)                      share from -1 to 1: [r, g, b]
     paintMap(context, plane, w, h, most) a plane of numbers as pixels, as bright as each is beside `most`
     textOn(colour)                       black or white, whichever can be read on it
*/

const isDark = matchMedia("(prefers-color-scheme: dark)");

/** Stops from -1 to 1; zero is the page's paper. */
const STOPS = {
  light: [[12, 52, 110], [54, 120, 190], [150, 190, 225], [250, 250, 248], [250, 195, 120], [226, 118, 22], [130, 48, 0]],
  dark: [[170, 214, 255], [74, 144, 217], [26, 68, 116], [17, 20, 26], [104, 56, 14], [222, 126, 34], [255, 222, 160]],
};

function colourOf(share) {
  const stops = isDark.matches ? STOPS.dark : STOPS.light;
  const at = ((Math.min(1, Math.max(-1, share || 0)) + 1) / 2) * (stops.length - 1), low = Math.min(Math.floor(at), stops.length - 2);
  return stops[low].map((value, band) => Math.round(value + (stops[low + 1][band] - value) * (at - low)));
}

/** 511 colours, made once for each theme: maps have many pixels. */
let palette = [];
function makePalette() {
  palette = Array.from({ length: 511 }, (_, at) => {
    const [r, g, b] = colourOf(at / 255 - 1);
    return (255 << 24) | (b << 16) | (g << 8) | r;
  });
}
makePalette();
isDark.addEventListener("change", makePalette);

function paintMap(context, plane, width, height, most) {
  const image = context.createImageData(width, height), pixels = new Uint32Array(image.data.buffer);
  for (let place = 0; place < pixels.length; place++) {
    const share = Math.min(1, Math.max(-1, plane[place] / most || 0));
    pixels[place] = palette[Math.round(share * 255) + 255];
  }
  context.putImageData(image, 0, 0);
}

function textOn([r, g, b]) {
  return 0.299 * r + 0.587 * g + 0.114 * b > 120 ? "#111" : "#fff";
}

function css([r, g, b]) {
  return `rgb(${r} ${g} ${b})`;
}

/** Heat for Grad-CAM: how much of the image shines through, and in which colour. */
function heatOf(share) {
  const stops = [[60, 20, 90], [190, 40, 90], [250, 130, 40], [255, 240, 150]];
  const at = share * 3, low = Math.min(Math.floor(at), 2);
  return stops[low].map((value, band) => value + (stops[low + 1][band] - value) * (at - low));
}

/** Planes of one channel, or three, as bytes r, g, b, r, g, b, ... */
function rgbOf(planes, channels, size, scale) {
  const area = size * size;
  return Uint8ClampedArray.from({ length: 3 * area }, (_, at) => planes[(channels === 1 ? 0 : (at % 3) * area) + Math.floor(at / 3)] * scale);
}

/** Such bytes on a canvas of that size. */
function paintBytes(context, rgb, size) {
  const image = context.createImageData(size, size);
  for (let place = 0; place < size * size; place++) {
    for (let band = 0; band < 3; band++) image.data[4 * place + band] = rgb[3 * place + band];
    image.data[4 * place + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

"use strict";
/* Images that are dropped, chosen or pasted: decoded, or refused in words.

     await imageOf(file)    {width, height, data: RGBA bytes}; an Error whose message is for the user if it cannot be taken

   Sizes are read from the first bytes of the file, before anything is decoded: a picture of 20,000 x 20,000 pixels is a
   small file that would take 1.6 GB.
*/

const MOST_BYTES = 20e6;
const MOST_PIXELS = 50e6;

async function imageOf(file) {
  const name = file.name || "the image";
  if (file.size > MOST_BYTES) {
    throw new Error(`${name}: ${megabytes(file.size)} are more than the ${megabytes(MOST_BYTES)} taken here; save it smaller`);
  }
  if (file.size === 0) throw new Error(`${name}: the file is empty`);
  const kind = kindOf(new Uint8Array(await file.slice(0, 16).arrayBuffer()));
  if (kind === null) throw new Error(`${name}: not an image that a browser reads; give PNG, JPEG, WebP, GIF, BMP or AVIF`);
  const size = sizeOf(kind, new DataView(await file.arrayBuffer()));
  if (size && size.width * size.height > MOST_PIXELS) throw new Error(tooManyPixels(name, size));
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw new Error(`${name}: begins as ${kind} does, but is damaged or cut off`);
  }
  try {
    if (bitmap.width * bitmap.height > MOST_PIXELS) throw new Error(tooManyPixels(name, bitmap));
    return pixelsOf(bitmap);
  } finally {
    bitmap.close();
  }
}

function pixelsOf(bitmap) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

function tooManyPixels(name, { width, height }) {
  return `${name}: ${count(width)} x ${count(height)} pixels are more than the ${count(MOST_PIXELS)} taken here; make it smaller`;
}

function megabytes(bytes) {
  return `${count(Math.round(bytes / 1e5) / 10)} MB`;
}

function count(number) {
  return number.toLocaleString("en-US");
}

const BEGINNINGS = { PNG: "89504e470d0a1a0a", JPEG: "ffd8ff", GIF: "47494638", BMP: "424d", WebP: "52494646........57454250", AVIF: "........66747970617669" };

/** What a file is by its first bytes; null if browsers do not read it. */
function kindOf(bytes) {
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return Object.keys(BEGINNINGS).find((kind) => new RegExp(`^${BEGINNINGS[kind]}`).test(hex)) ?? null;
}

/** The size that an image's header promises; null where that is not known before it is decoded. */
function sizeOf(kind, view) {
  const has = (bytes) => view.byteLength >= bytes;
  if (kind === "PNG" && has(24)) return { width: view.getUint32(16), height: view.getUint32(20) };
  if (kind === "GIF" && has(10)) return { width: view.getUint16(6, true), height: view.getUint16(8, true) };
  if (kind === "BMP" && has(26)) return { width: Math.abs(view.getInt32(18, true)), height: Math.abs(view.getInt32(22, true)) };
  if (kind === "JPEG") return sizeOfJpeg(view);
  return null;
}

/** The size in the frame header of a JPEG, which comes after other segments. */
function sizeOfJpeg(view) {
  let at = 2;
  while (at + 9 < view.byteLength && view.getUint8(at) === 0xff) {
    const marker = view.getUint8(at + 1);
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (isFrame) return { height: view.getUint16(at + 5), width: view.getUint16(at + 7) };
    at += 2 + view.getUint16(at + 2);
  }
  return null;
}

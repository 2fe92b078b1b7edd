"use strict";
/* Images that are dropped, chosen or pasted: decoded, or refused in words.

     await bitmapOf(file)    an ImageBitmap; an Error whose message is for the user if it cannot be taken

   Sizes are read from the first bytes of the file, before anything is decoded: a picture of 20,000 x 20,000 pixels is a
   small file that would take 1.6 GB.
*/

const MOST_BYTES = 20e6;
const MOST_PIXELS = 50e6;

async function bitmapOf(file) {
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
  if (bitmap.width * bitmap.height <= MOST_PIXELS) return bitmap;
  const error = new Error(tooManyPixels(name, bitmap));
  bitmap.close();
  throw error;
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
  if (kind === "GIF" && has(13)) return sizeOfGif(view);
  if (kind === "BMP" && has(26) && view.getUint32(14, true) === 12) return { width: view.getUint16(18, true), height: view.getUint16(20, true) }; // of OS/2
  if (kind === "BMP" && has(26)) return { width: Math.abs(view.getInt32(18, true)), height: Math.abs(view.getInt32(22, true)) };
  if (kind === "JPEG") return sizeOfJpeg(view);
  if (kind === "WebP" && has(30)) return sizeOfWebp(view);
  if (kind === "AVIF") return sizeOfAvif(view, 0, view.byteLength);
  return null;
}

/** The size of a GIF's screen, or of its first image where that is larger: browsers then widen the screen. */
function sizeOfGif(view) {
  const from = (at) => view.getUint16(at, true), flags = view.getUint8(10), length = view.byteLength;
  let [width, height, at] = [from(6), from(8), 13 + (flags & 0x80 ? 3 * 2 ** ((flags & 7) + 1) : 0)];
  while (at + 2 < length && view.getUint8(at) === 0x21) { // an extension, in parts that begin with their lengths
    at += 2;
    while (at < length && view.getUint8(at) > 0) at += 1 + view.getUint8(at);
    at += 1;
  }
  if (at + 9 <= length && view.getUint8(at) === 0x2c) {
    [width, height] = [Math.max(width, from(at + 1) + from(at + 5)), Math.max(height, from(at + 3) + from(at + 7))];
  }
  return { width, height };
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

/** The size in the first chunk of a WebP: of one that is lossy, lossless, or has more, such as animations. */
function sizeOfWebp(view) {
  const from = (at) => view.getUint32(at, true);
  switch (view.getUint8(15)) {
    case 0x20: return { width: from(26) & 0x3fff, height: (from(26) >> 16) & 0x3fff }; // "VP8 "
    case 0x4c: return { width: (from(21) & 0x3fff) + 1, height: ((from(21) >> 14) & 0x3fff) + 1 }; // "VP8L"
    case 0x58: return { width: (from(24) & 0xffffff) + 1, height: (from(26) >>> 8) + 1 }; // "VP8X"
    default: return null;
  }
}

/** The largest size that the boxes of an AVIF name, which has one for each image in it: thumbnails, tiles, the whole. */
function sizeOfAvif(view, from, end) {
  const headers = { meta: 12, iprp: 8, ipco: 8 }; // boxes of boxes
  let largest = null;
  for (let at = from, next; at + 8 <= end; at = next) {
    const length = view.getUint32(at), isLong = length === 1, name = [4, 5, 6, 7].map((byte) => String.fromCharCode(view.getUint8(at + byte))).join("");
    if (isLong && at + 16 > end) break;
    next = length === 0 ? end : Math.min(end, at + (isLong ? Number(view.getBigUint64(at + 8)) : length));
    if (next < at + 8) break; // damaged
    const inside = at + (isLong ? 8 : 0);
    let size = null;
    if (name in headers) size = sizeOfAvif(view, inside + headers[name], next);
    else if (name === "ispe" && inside + 20 <= next) size = { width: view.getUint32(inside + 12), height: view.getUint32(inside + 16) };
    if (size && (!largest || size.width * size.height > largest.width * largest.height)) largest = size;
  }
  return largest;
}

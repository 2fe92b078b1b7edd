"use strict";
/* What the network answers: probabilities as bars, the answer in words, and Grad-CAM over the image.

     probabilitiesOf(logits)                     softmax
     showBars(list, probabilities, names, onChoose)
     paintHeat(canvas, view, cam)                the image in grey, and on it where the answer comes from
*/

const BARS = 10;

function probabilitiesOf(logits) {
  const most = Math.max(...logits), powers = Array.from(logits, (logit) => Math.exp(logit - most)), sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

/** The classes of the bars: all in their order where they are few, else the best. */
function barsOf(probabilities) {
  const places = [...probabilities.keys()];
  return places.length <= BARS ? places : places.sort((a, b) => probabilities[b] - probabilities[a]).slice(0, BARS);
}

/** Bars that stay where they are while their lengths change; a click on one asks where its answer comes from. */
function showBars(list, probabilities, names, onChoose) {
  const shown = barsOf(probabilities), best = probabilities.indexOf(Math.max(...probabilities));
  while (list.children.length < shown.length) {
    const button = make("button", { type: "button", title: "Where does this answer come from?" }, make("span", { className: "name" }), make("span", { className: "bar" }, make("i")), make("span", { className: "share" }));
    list.append(make("li", {}, button));
  }
  while (list.children.length > shown.length) list.lastChild.remove();
  shown.forEach((label, at) => {
    const item = list.children[at], [name, bar, share] = item.firstChild.children;
    name.textContent = names[label];
    bar.firstChild.style.width = `${(100 * probabilities[label]).toFixed(2)}%`;
    share.textContent = percent(probabilities[label]);
    item.classList.toggle("best", label === best);
    item.firstChild.onclick = () => onChoose(label);
  });
}

function percent(share) {
  return share > 0.9995 ? "100 %" : `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
}

/** `view` has {width, height, rgb}: the image that the network is shown, as bytes. */
function paintHeat(canvas, { width, height, rgb }, cam) {
  const size = canvas.width, context = canvas.getContext("2d"), image = context.createImageData(size, size);
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const from = 3 * (Math.floor((y * height) / size) * width + Math.floor((x * width) / size)), to = 4 * (y * size + x);
      const grey = 0.299 * rgb[from] + 0.587 * rgb[from + 1] + 0.114 * rgb[from + 2];
      const share = cam ? smoothAt(cam, (x + 0.5) / size, (y + 0.5) / size) : 0, heat = heatOf(share), cover = 0.8 * Math.min(1, 1.6 * share);
      for (let band = 0; band < 3; band++) image.data[to + band] = grey * (1 - cover) + heat[band] * cover;
      image.data[to + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
}

/** A small map's value between its pixels, at x and y from 0 to 1. */
function smoothAt({ heat, width, height }, x, y) {
  const along = (share, size) => Math.min(Math.max(share * size - 0.5, 0), size - 1), at = (row, column) => heat[Math.min(row, height - 1) * width + Math.min(column, width - 1)];
  const [row, column] = [along(y, height), along(x, width)], [top, left] = [Math.floor(row), Math.floor(column)], [down, right] = [row - top, column - left];
  return (at(top, left) * (1 - right) + at(top, left + 1) * right) * (1 - down) + (at(top + 1, left) * (1 - right) + at(top + 1, left + 1) * right) * down;
}

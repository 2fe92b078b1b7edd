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
    item.classList.toggle("best", label === best && probabilities[best] > 0);
    item.firstChild.onclick = () => onChoose(label);
  });
}

function percent(share) {
  return share > 0.9995 ? "100 %" : `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
}

/** `view` has {size, rgb}: the image that the network is shown, as bytes. Without `cam` it is shown alone. */
function paintHeat(canvas, { size, rgb }, cam) {
  const context = canvas.getContext("2d"), image = make("canvas", { width: size, height: size });
  const grey = Uint8ClampedArray.from(rgb, (value, at) => 0.299 * rgb[at - (at % 3)] + 0.587 * rgb[at - (at % 3) + 1] + 0.114 * rgb[at - (at % 3) + 2]);
  paintBytes(image.getContext("2d"), grey, size);
  context.imageSmoothingEnabled = false;
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  if (!cam) return;
  const { width, height, heat } = cam, small = make("canvas", { width, height }), glow = new ImageData(width, height);
  heat.forEach((share, place) => glow.data.set([...heatOf(share), 255 * 0.8 * Math.min(1, 1.6 * share)], 4 * place));
  small.getContext("2d").putImageData(glow, 0, 0);
  context.imageSmoothingEnabled = true; // between the pixels of the small map
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
}

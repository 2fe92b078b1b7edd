"use strict";
/* The network at work in a Worker, so that drawing stays fluid while a large one computes.

     const runner = new Runner(source)        source is the text of network.js and worker.js
     await runner.ask(job, details)           see JOBS in worker.js; a third argument lists what is handed over, not copied

   The Worker is made from a Blob: a page that was opened from disk may not load it from a file.
*/

class Runner {
  #waiting = new Map();
  #next = 0;
  #broken = null;

  constructor(source) {
    const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    this.worker = new Worker(address);
    this.worker.onmessage = ({ data: { id, result, error } }) => {
      const { resolve, reject } = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) resolve(result);
      else reject(new Error(error));
    };
    this.worker.onerror = (event) => {
      this.#broken = new Error(event.message || "this browser runs no Worker here");
      for (const { reject } of this.#waiting.values()) reject(this.#broken);
      this.#waiting.clear();
    };
  }

  ask(job, details, handedOver = []) {
    if (this.#broken) return Promise.reject(this.#broken);
    return new Promise((resolve, reject) => {
      const id = this.#next++;
      this.#waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, job, details }, handedOver);
    });
  }
}

/** Calls `work` at most once a frame, and never while it is still running; what was asked for meanwhile is done once, after. */
function newestOnly(work, onError) {
  let isBusy = false, isWanted = false;
  const go = async () => {
    isWanted = false;
    try {
      await work();
    } catch (error) {
      onError(error);
    }
    isBusy = false;
    if (isWanted) wish();
  };
  const wish = () => {
    isWanted = true;
    if (isBusy) return;
    isBusy = true;
    requestAnimationFrame(go);
  };
  return wish;
}

// @ts-check
/**
 * A moving test picture with sound that needs no device. Made to be read on the other side: the clock shows the delay
 * from end to end, the frame counter shows dropped frames, and the flash and the beep of each second show whether
 * picture and sound are together.
 */

const INK = "#101317";
const AMBER = "#ffb938";
const PAPER = "#f1efe9";
const BARS = ["#f1efe9", "#e8c547", "#4cc3c7", "#5dbb63", "#c869b4", "#d65745", "#4a6fd4"];
const FLASH_MS = 90;

export class TestPattern {
  #canvas = document.createElement("canvas");
  #ticker = new Worker("/assets/ticker.js");
  #audio = new AudioContext();
  #frame = 0;
  #room;
  #lastBeep = -1;
  /** @type {GainNode} */
  #beep;

  /**
   * @param {number} height Lines; the width follows as 16:9.
   * @param {number} frameRate
   * @param {string} room
   */
  constructor(height, frameRate, room) {
    this.#room = room;
    this.#canvas.height = height;
    this.#canvas.width = Math.round((height * 16) / 9 / 2) * 2;
    const { stream: sound, beep } = makeTone(this.#audio);
    this.#beep = beep;
    this.#draw();
    /** Picture and sound. */
    this.stream = new MediaStream([...this.#canvas.captureStream(frameRate).getTracks(), ...sound.getTracks()]);
    this.#ticker.onmessage = () => this.#draw();
    this.#ticker.postMessage(1000 / frameRate);
    // Sound may be held back until somebody touches the page; the picture is not.
    addEventListener("pointerdown", this.#wake);
    addEventListener("keydown", this.#wake);
  }

  stop() {
    removeEventListener("pointerdown", this.#wake);
    removeEventListener("keydown", this.#wake);
    this.#ticker.terminate();
    this.stream.getTracks().forEach((track) => track.stop());
    void this.#audio.close();
  }

  #wake = () => void this.#audio.resume();

  #draw() {
    const context = this.#canvas.getContext("2d", { alpha: false });
    if (!context) return;
    const now = new Date();
    const flash = now.getMilliseconds() < FLASH_MS;
    if (now.getSeconds() !== this.#lastBeep) {
      this.#lastBeep = now.getSeconds();
      const at = this.#audio.currentTime;
      this.#beep.gain.setValueAtTime(0.25, at);
      this.#beep.gain.setTargetAtTime(0, at + FLASH_MS / 1000, 0.01);
    }
    this.#frame += 1;
    const { width, height } = this.#canvas;
    context.setTransform(height / 360, 0, 0, height / 360, 0, 0);
    paint(context, (width / height) * 360, now, this.#frame, flash, this.#room);
  }
}

/**
 * @param {AudioContext} audio
 * @returns {{ stream: MediaStream, beep: GainNode }} A quiet steady tone, and a beep that is off until
 *   its gain is raised.
 */
function makeTone(audio) {
  const out = audio.createMediaStreamDestination();
  const tone = (/** @type {number} */ frequency, /** @type {number} */ level) => {
    const oscillator = new OscillatorNode(audio, { frequency });
    const gain = new GainNode(audio, { gain: level });
    oscillator.connect(gain).connect(out);
    oscillator.start();
    return gain;
  };
  tone(220, 0.03);
  return { stream: out.stream, beep: tone(880, 0) };
}

/**
 * Paints in a space of 360 lines, whatever the picture's real size.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {number} width
 * @param {Date} now
 * @param {number} frame
 * @param {boolean} flash
 * @param {string} room
 */
function paint(context, width, now, frame, flash, room) {
  context.fillStyle = INK;
  context.fillRect(0, 0, width, 360);
  paintGrid(context, width, frame);
  BARS.forEach((colour, index) => {
    context.fillStyle = colour;
    context.fillRect((index * width) / BARS.length, 306, width / BARS.length + 1, 54);
  });
  const left = 44;
  context.textBaseline = "alphabetic";
  context.fillStyle = PAPER;
  context.font = "600 20px sans-serif";
  context.fillText(room.slice(0, 40), left, 62);
  context.font = "700 76px monospace";
  const two = (/** @type {number} */ value) => String(value).padStart(2, "0");
  context.fillText(`${two(now.getHours())}:${two(now.getMinutes())}:${two(now.getSeconds())}`, left - 4, 176);
  context.font = "600 34px monospace";
  context.fillStyle = AMBER;
  context.fillText(`.${String(now.getMilliseconds()).padStart(3, "0")}`, left, 222);
  context.font = "500 18px monospace";
  context.fillStyle = PAPER;
  context.fillText(`frame ${frame}`, left, 272);
  paintDial(context, width - 108, 156, now, flash);
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number} width
 * @param {number} frame
 */
function paintGrid(context, width, frame) {
  context.strokeStyle = "#262b32";
  context.lineWidth = 1.5;
  context.beginPath();
  for (let x = 0.5 * (width % 40); x < width; x += 40) context.rect(x, 0, 0, 306);
  for (let y = 26; y < 306; y += 40) context.rect(0, y, width, 0);
  context.stroke();
  // Even motion over the whole width: judder shows here first.
  context.fillStyle = AMBER;
  context.fillRect((frame * 4) % width, 298, 40, 8);
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number} x
 * @param {number} y
 * @param {Date} now
 * @param {boolean} flash
 */
function paintDial(context, x, y, now, flash) {
  const turn = (now.getMilliseconds() / 1000) * 2 * Math.PI - Math.PI / 2;
  context.lineWidth = 10;
  context.strokeStyle = "#2f353d";
  context.beginPath();
  context.arc(x, y, 62, 0, 2 * Math.PI);
  context.stroke();
  context.strokeStyle = AMBER;
  context.beginPath();
  context.arc(x, y, 62, -Math.PI / 2, turn);
  context.stroke();
  context.fillStyle = flash ? PAPER : AMBER;
  context.beginPath();
  context.arc(x, y, flash ? 30 : 12, 0, 2 * Math.PI);
  context.fill();
}

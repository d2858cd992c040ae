// How the scripts of the stacks are started.

import { existsSync } from "node:fs";

const VENV = new URL("../../.venv/bin/python", import.meta.url);
const PYTHON = existsSync(VENV) ? VENV.pathname : "python3";

/** Program and script, in the folder above. GStreamer's bindings are the system's, so its Python is too. */
/** @type {Record<string, string[]>} */
export const STACKS = {
  aiortc: [PYTHON, "aiortc-client.py"],
  chromium: [process.execPath, "chromium.mjs"],
  ffmpeg: [process.execPath, "ffmpeg.mjs"],
  gstreamer: ["/usr/bin/python3", "gstreamer-client.py"],
  "node-datachannel": [process.execPath, "node-datachannel.mjs"],
  werift: [process.execPath, "werift.mjs"],
  wrtc: [process.execPath, "wrtc.mjs"],
};

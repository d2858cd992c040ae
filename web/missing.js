// @ts-check
/** The page for addresses that lead nowhere: says what is wrong with a room's name, and offers what was meant. */

import { roomNameProblem, roomOfPath, tidyRoomName } from "./room.js";
import { byId, wireTheme } from "./ui.js";

wireTheme();
const [, kind = ""] = location.pathname.split("/");
if (["room", "publish", "watch"].includes(kind)) explain();

function explain() {
  const room = roomOfPath();
  const problem = roomNameProblem(room);
  if (!problem) return;
  byId("title").textContent = "No room has this name";
  byId("detail").textContent = problem;
  const tidy = tidyRoomName(room);
  if (roomNameProblem(tidy)) return;
  byId("instead", HTMLAnchorElement).href = `/${kind}/${encodeURIComponent(tidy)}`;
  byId("instead").textContent = `Go to ${tidy}`;
}

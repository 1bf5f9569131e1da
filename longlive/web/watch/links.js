// Where the routes of this link are: /watch/ID/..., for the page at /watch/ID and at /room; see routes.py.

const IS_ROOM = location.pathname.endsWith("/room");
const BASE = new URL(IS_ROOM ? "watch/room/" : `${location.pathname.split("/").at(-1)}/`, location.href);
const link = (route) => new URL(route, BASE);

// The answer of a route; an Error with what the server says if it has none.
const fetchStored = async (route) => {
  const answer = await fetch(link(route), { cache: "no-store" });
  if (answer.ok) return answer;
  const { detail } = await answer.json().catch(() => ({}));
  throw Object.assign(new Error(detail ?? `The server answered ${answer.status}.`), { status: answer.status });
};

// Where this page's routes are; see live.py and review.py. Gradio runs this before the scripts that fetch them.

const routeUrl = (route) => {
  const root = new URL(window.gradio_config?.root ?? location.href, location.href).pathname.replace(/\/*$/, "/");
  return new URL(`${root}${route}`, location.origin);
};

// The answer of a route that wants a run's token; an Error with what the server says if it has none.
const fetchStored = async (route, token) => {
  const headers = { Authorization: `Bearer ${token}` };
  const answer = await fetch(routeUrl(route), { headers, cache: "no-store" });
  if (answer.ok) return answer;
  const { detail } = await answer.json().catch(() => ({}));
  throw Object.assign(new Error(detail ?? `The server answered ${answer.status}.`), { status: answer.status });
};

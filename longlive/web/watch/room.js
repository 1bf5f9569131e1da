// What the room offers to everybody: its files, and a video of one's own that begins with what is on the screen.
{
  const links = document.querySelector("#room-links");
  const set = (name, href) => (links.querySelector(`.${name}`).href = href);

  const show = () => {
    const chunk = run?.segments.find(({ start, end }) => start <= position() && position() < end)?.chunk;
    links.hidden = !IS_ROOM || chunk === undefined;
    if (links.hidden) return;
    set("branch", new URL(`./#room=${run.take}.${chunk + 1}`, location.href));
    for (const name of ["video", "session"]) set(name, new URL(`room/${name}?take=${run.take}`, location.href));
  };
  window.addEventListener("longlive:playhead", show);
  if (IS_ROOM) {
    document.title = "The room · LongLive";
    document.querySelector("#header .about").textContent = "The room: one video for everybody.";
  }
}

// What those who watch propose, and their votes; in the room, the round, and what won. The lists come with the messages
// `hello` and `news`; see voting.py and Room.describe. Whatever people wrote is only inserted as text.
{
  const host = document.querySelector("#proposals");
  const find = (selector) => host.querySelector(selector);
  const form = find("form");
  const setText = (node, text) => node.textContent !== text && (node.textContent = text);
  const make = (tag, className, text = "") => Object.assign(document.createElement(tag), { className, textContent: text });
  const counted = (votes) => (votes === 1 ? "1 vote" : `${votes} votes`);

  let vote = null; // number of the proposal that this browser votes for
  let news = {};
  let ahead = 0; // seconds of the server's clock before ours
  let isWaiting = false;

  const say = (text) => {
    find(".note").hidden = !text;
    setText(find(".note"), text);
  };

  const send = async (route, body) => {
    if (isWaiting) return null;
    isWaiting = true;
    const headers = { "Content-Type": "application/json" };
    const answer = await fetch(link(route), { method: "POST", headers, body: JSON.stringify(body) }).catch(() => null);
    const content = await answer?.json().catch(() => null);
    isWaiting = false;
    if (!answer?.ok) {
      say(content?.detail ?? "The server does not answer. Please try again.");
      return null;
    }
    vote = content.number;
    // Until the next message brings the list.
    const others = (news.proposals ?? []).filter(({ number }) => number !== content.number);
    news = { ...news, proposals: [...others, content] };
    show();
    return content;
  };

  const makeItem = (number) => {
    const item = make("li", "");
    item.dataset.number = number;
    const text = make("span", "text");
    text.dir = "auto";
    const button = make("button", "pill");
    button.type = "button";
    button.addEventListener("click", async () => {
      if (await send("vote", { number })) say("");
    });
    item.append(text, make("span", "votes quiet"), button);
    return item;
  };

  // One that stays keeps its element, so that the focus stays.
  const showItem = (item, { number, text, votes }) => {
    const isMine = number === vote;
    const [label, count, button] = item.children;
    setText(label, text);
    setText(count, counted(votes));
    setText(button, isMine ? "Your vote" : "Vote");
    button.setAttribute("aria-label", `${isMine ? "Your vote" : "Vote"}: ${text}`);
    button.setAttribute("aria-pressed", isMine);
  };

  const show = () => {
    const { takes_proposals: isAsked, proposals = [], chosen, round } = news;
    host.hidden = !isAsked;
    if (vote !== null && !proposals.some(({ number }) => number === vote)) {
      vote = null; // it has won, or is gone: so is what was said of it
      say("");
    }
    const list = find("ol");
    const known = new Map([...list.children].map((item) => [Number(item.dataset.number), item]));
    const wanted = proposals.map((one) => {
      const item = known.get(one.number) ?? makeItem(one.number);
      showItem(item, one);
      return item;
    });
    const isSame = wanted.length === list.children.length && wanted.every((item, i) => item === list.children[i]);
    const held = document.activeElement;
    if (!isSame) list.replaceChildren(...wanted);
    if (!isSame && list.contains(held)) held.focus();
    find(".none").hidden = proposals.length > 0;
    setText(find("h2"), round ? "What comes next?" : "Propose what comes next");
    find(".chosen").hidden = !chosen;
    if (chosen) setText(find(".chosen"), `${chosen.votes ? `Won with ${counted(chosen.votes)}` : "Now"}: ${chosen.text}`);
    showRound();
  };

  const showRound = () => {
    const { round, is_paused: isPaused } = news;
    if (!round) return setText(find(".countdown"), "The owner of the video chooses.");
    const left = Math.max(0, Math.ceil(round.ends_at - (Date.now() / 1000 + ahead)));
    const still = isPaused ? "The room is paused." : "The round begins with the video.";
    setText(find(".countdown"), round.ends_at === null ? still : left ? `The vote ends in ${left} s` : "The vote is counted…");
  };

  // Which proposal is this browser's, and how the server's clock differs from ours.
  const ask = async () => {
    const answer = await fetchStored("voice").then((one) => one.json(), () => null);
    if (!answer) return;
    ahead = answer.now - Date.now() / 1000;
    vote ??= answer.vote;
    show();
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = form.elements.text.value.trim();
    if (!text) return form.elements.text.focus();
    const answer = await send("propose", { text });
    if (!answer) return;
    form.elements.text.value = "";
    say("It is proposed, with your vote.");
  });
  let isKnown = false;
  window.addEventListener("longlive:news", ({ detail }) => {
    news = detail;
    show();
    if (!isKnown && news.takes_proposals) ask();
    isKnown ||= Boolean(news.takes_proposals);
  });
  setInterval(() => host.hidden || showRound(), 500);
}

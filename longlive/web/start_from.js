// The file that the next video begins with: it is kept here, as a data URL, until Start is pressed. Large pictures are
// made smaller, and of a large video only the last picture is taken. The server looks at what is in the file.
// Gradio runs this as the body of a function of (element, trigger, props, server, upload, watch).

const MAX_BYTES = 3_000_000; // what the server takes
const MAX_SIDE = 1280; // pixels of a picture that had to be made smaller
const LOAD_MS = 10_000; // how long a video may take to show its last picture

const find = (selector) => element.querySelector(selector);
const input = find("input");

const show = (name, preview, note) => {
  find(".choose").hidden = Boolean(name);
  find(".chosen").hidden = !name;
  find(".name").textContent = name;
  find("img").hidden = !preview;
  if (preview) find("img").src = preview;
  find(".note").hidden = !note;
  find(".note").textContent = note;
};

const clear = (note = "") => {
  input.value = "";
  props.value = null;
  show("", "", note);
};

const asDataUrl = (blob) =>
  new Promise((done, failed) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => done(reader.result));
    reader.addEventListener("error", () => failed(reader.error));
    reader.readAsDataURL(blob);
  });

// A picture or a video's present picture as a JPEG, at most so many pixels on its longer side.
const asJpeg = (source, width, height, side) => {
  const canvas = document.createElement("canvas");
  const scale = Math.min(1, side / Math.max(width, height));
  [canvas.width, canvas.height] = [Math.max(1, width * scale), Math.max(1, height * scale)];
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff"; // behind what is transparent, as on the server
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.92);
};

const lastPicture = (file) =>
  new Promise((done, failed) => {
    const video = document.createElement("video");
    const url = URL.createObjectURL(file);
    const end = (finish, value) => {
      URL.revokeObjectURL(url);
      finish(value);
    };
    video.muted = true;
    video.addEventListener("loadeddata", () => (video.currentTime = Math.max(0, video.duration - 0.05)), { once: true });
    video.addEventListener("seeked", () => end(done, (side) => asJpeg(video, video.videoWidth, video.videoHeight, side)));
    video.addEventListener("error", () => end(failed, video.error));
    setTimeout(() => end(failed, new Error("too slow")), LOAD_MS);
    video.src = url;
  });

const picture = async (file) => {
  const image = await createImageBitmap(file);
  return (side) => asJpeg(image, image.width, image.height, side);
};

// What is sent, a small preview, and what should be known about it.
const read = async (file) => {
  const isVideo = file.type.startsWith("video/");
  const draw = await (isVideo ? lastPicture(file) : picture(file)).catch(() => null);
  const preview = draw?.(96) ?? "";
  if (file.size <= MAX_BYTES) return { value: await asDataUrl(file), preview, note: "" };
  if (!draw) throw new Error(`This file has ${(file.size / 1e6).toFixed(1)} MB; at most 3 MB can be sent. Make it smaller first.`);
  const note = isVideo ? "This video is larger than 3 MB, so only its last picture is used." : "";
  return { value: draw(MAX_SIDE), preview, note };
};

let chosen = 0;
input.addEventListener("change", async () => {
  const [file] = input.files;
  if (!file) return;
  const number = ++chosen;
  show(file.name, "", "Reading the file…");
  try {
    const { value, preview, note } = await read(file);
    if (number !== chosen) return;
    props.value = value;
    show(file.name, preview, note);
  } catch (error) {
    if (number === chosen) clear(error.message);
  }
});
find(".remove").addEventListener("click", () => {
  chosen++;
  clear();
  input.focus();
});

// Files from the reader's disk to Python and back. What is too large is refused before a byte of it is sent.
function render({ model, el }) {
  const label = document.createElement("label");
  label.className = "lamae-upload";
  const button = document.createElement("span");
  button.textContent = model.get("label");
  const input = document.createElement("input");
  input.type = "file";
  input.multiple = true;
  const status = document.createElement("span");
  status.setAttribute("role", "status");
  label.append(button, input);
  el.append(label, status);

  input.addEventListener("change", async () => {
    const files = [...input.files];
    const bytes = files.reduce((sum, file) => sum + file.size, 0);
    if (bytes > model.get("limit_mb") * 1e6) {
      status.textContent =
        `These files have ${(bytes / 1e6).toFixed(0)} MB, but at most ${model.get("limit_mb")} MB are read: ` +
        "upload one ECG at a time.";
    } else if (files.length) {
      status.textContent = "";
      const contents = await Promise.all(files.map((file) => file.arrayBuffer()));
      model.send({ names: files.map((file) => file.name) }, undefined, contents);
    }
    input.value = ""; // the same file may be chosen again
  });

  const download = (message, buffers) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([buffers[0]]));
    link.download = message.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  };
  model.on("msg:custom", download);
  return () => model.off("msg:custom", download);
}

export default { render };

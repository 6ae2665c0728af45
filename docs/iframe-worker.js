// A page that is opened as a file may start no worker: its search then runs in a hidden frame, behind the same interface.
class IFrameWorker extends EventTarget {
  constructor(url) {
    super();
    const frame = document.createElement("iframe");
    frame.hidden = true;
    document.body.append(frame);
    const inside = frame.contentWindow;
    inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
    const script = inside.document.createElement("script");
    this.ready = new Promise((resolve) => script.addEventListener("load", resolve));
    this.send = (data) => inside.dispatchEvent(new inside.MessageEvent("message", { data }));
    script.src = url;
    inside.document.body.append(script);
  }

  postMessage(data) {
    this.ready.then(() => this.send(data));
  }
}

if (location.protocol === "file:") {
  window.IFrameWorker = window.Worker = IFrameWorker;
}

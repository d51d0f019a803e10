// A page that is opened as a file may start no worker. The search then runs in a hidden frame.
if (location.protocol === "file:") {
  const load = (frame, url) =>
    new Promise((resolve, reject) => {
      const script = frame.document.createElement("script");
      script.src = url;
      script.onload = resolve;
      script.onerror = reject;
      frame.document.body.append(script);
    });
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const element = document.createElement("iframe");
      element.hidden = true;
      document.body.append(element);
      this.frame = element.contentWindow;
      this.frame.postMessage = (data) =>
        this.dispatchEvent(new MessageEvent("message", { data }));
      this.frame.importScripts = async (...urls) => {
        for (const one of urls) await load(this.frame, one);
      };
      this.ready = load(this.frame, url);
    }
    postMessage(data) {
      const { frame } = this;
      this.ready.then(() => frame.dispatchEvent(new frame.MessageEvent("message", { data })));
    }
  };
}

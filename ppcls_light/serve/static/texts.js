"use strict";

// Every text of the pages, {name} stands for a value. The two languages have the same keys.
const TEXTS = {
  en: {
    lang: "en",
    other: "中文",
    title: "Classify an image",
    docsTitle: "ppcls_light: the HTTP interface",
    connecting: "connecting",
    loading: "loading",
    draining: "shutting down",
    gone: "no connection",
    model: "{model} · {classes} classes · {engine}",
    modelOfTags: "{model} · {classes} tags · {engine}",
    picture: "Picture",
    drop: "Drop an image here",
    choose: "Choose a file",
    hint: "or paste one with Ctrl+V. JPEG, PNG, WebP, BMP, GIF and TIFF.",
    unshown: "The browser cannot show this file.",
    another: "Choose another",
    shows: "What it shows",
    token: "Token",
    waiting: "The five most probable classes appear here.",
    waitingOther: "The answer appears here.",
    threshold: "Threshold: {threshold}",
    noTag: "No tag reaches the threshold {threshold}.",
    tagsSummary: "Tags: {labels}",
    class: "class {id}",
    summary: "Most probable: {label}, {score}",
    unknown: "Unknown ({score}): not like the images of any class. The nearest:",
    unknownSummary: "Unknown. Nearest: {label}, {score}",
    server: "Server",
    trip: "Round trip",
    upload: "upload {time} ms",
    queue: "wait {time} ms",
    decode: "decode {time} ms",
    inference: "network {time} ms",
    rest: "rest {time} ms",
    interface: "The HTTP interface",
    hintLocal: "or paste one with Ctrl+V. It stays on this device: the browser itself computes.",
    computed: "Computed here",
    camera: "Camera",
    capture: "Take the picture",
    live: "The camera's picture",
    noCamera: "The camera cannot be used",
    heat: "Heat map",
    heatOf: "Yellow: what speaks most for {label}. Grey: what the network does not see.",
    notRead: "The browser cannot read {name} as an image.",
    notLoaded: "The model cannot be loaded",
    needsHost: "The page does not work as a file. Serve its folder, for example by python -m http.server.",
    chosen: "The chosen picture, {name}",
    noFile: "That holds no file. Save the image first, then drop or choose it here.",
    tooLarge: "{name} has {size} MB; this server takes {limit} MB at most.",
    noAnswer: "The server does not answer. Is it still running?",
    failed: "This image has no answer",
    status400: "The request is not as it should be",
    status401: "This server answers only with its token.",
    status408: "The upload took too long",
    status413: "The image is too large",
    status415: "This is no image of a format that is read here",
    status422: "The image is damaged, or far too long for its width",
    status500: "The server failed on this image",
    status503: "The server is busy; try again in a second",
    status504: "There was no answer in time",
    needsToken: "Needs the header Authorization: Bearer TOKEN.",
    query: "{name} (query)",
    header: "{name} (header)",
    sentence: "{sentence}",
    status: "{status}: {description}",
  },
  zh: {
    lang: "zh-CN",
    other: "English",
    title: "图像分类",
    docsTitle: "ppcls_light：HTTP 接口",
    connecting: "正在连接",
    loading: "正在加载",
    draining: "正在关闭",
    gone: "连接已断开",
    model: "{model} · {classes} 个类别 · {engine}",
    modelOfTags: "{model} · {classes} 个标签 · {engine}",
    picture: "图片",
    drop: "将图片拖到此处",
    choose: "选择文件",
    hint: "或按 Ctrl+V 粘贴。支持 JPEG、PNG、WebP、BMP、GIF 和 TIFF。",
    unshown: "浏览器无法显示此文件。",
    another: "换一张",
    shows: "识别结果",
    token: "令牌",
    waiting: "概率最高的五个类别将显示在这里。",
    waitingOther: "结果将显示在这里。",
    threshold: "阈值：{threshold}",
    noTag: "没有标签达到阈值 {threshold}。",
    tagsSummary: "标签：{labels}",
    class: "类别 {id}",
    summary: "最可能：{label}，{score}",
    unknown: "未知（{score}）：与任何类别的图片都不相似。最接近的类别：",
    unknownSummary: "未知。最接近：{label}，{score}",
    server: "服务器耗时",
    trip: "往返耗时",
    upload: "上传 {time} ms",
    queue: "排队 {time} ms",
    decode: "解码 {time} ms",
    inference: "推理 {time} ms",
    rest: "其他 {time} ms",
    interface: "HTTP 接口",
    hintLocal: "或按 Ctrl+V 粘贴。图片不会离开本机，由浏览器计算。",
    computed: "本机耗时",
    camera: "摄像头",
    capture: "拍照",
    live: "摄像头画面",
    noCamera: "无法使用摄像头",
    heat: "热力图",
    heatOf: "黄色：最支持“{label}”的部分。灰色：网络看不到的部分。",
    notRead: "浏览器无法将 {name} 作为图片读取。",
    notLoaded: "无法加载模型",
    needsHost: "此页面不能作为文件打开。请用静态服务器提供其文件夹，例如 python -m http.server。",
    chosen: "所选图片，{name}",
    noFile: "其中没有文件。请先保存图片，再拖到此处或选择文件。",
    tooLarge: "{name} 的大小为 {size} MB，超过了服务器 {limit} MB 的上限。",
    noAnswer: "服务器没有响应。它还在运行吗？",
    failed: "这张图片没有得到结果",
    status400: "请求格式不正确",
    status401: "访问此服务器需要令牌。",
    status408: "上传时间过长",
    status413: "图片过大",
    status415: "这不是可读取的图片格式",
    status422: "图片已损坏，或长宽比过大",
    status500: "服务器处理这张图片时出错",
    status503: "服务器繁忙，请稍后重试",
    status504: "服务器未在规定时间内给出结果",
    needsToken: "需要请求头 Authorization: Bearer TOKEN。",
    query: "{name}（查询参数）",
    header: "{name}（请求头）",
    sentence: "{sentence}",
    status: "{status}：{description}",
  },
};

// Sentences of /openapi.json, which is in English.
const OPENAPI = {
  en: {},
  zh: {
    "Classify images": "对图片分类",
    "Tell that the process lives": "进程是否存活",
    "Tell whether the network is loaded": "网络是否已加载",
    "Count for Prometheus": "Prometheus 指标",
    "Successful Response": "成功",
    "one row per image": "每张图片一行结果",
    "neither a form nor JSON as described, or a Host that is not allowed": "不是所述的表单或 JSON，或 Host 不被允许",
    "without the bearer token": "缺少令牌，或令牌错误",
    "the upload is too slow": "上传过慢",
    "too many bytes, pixels or images": "字节、像素或图片数量过多",
    "neither a form nor JSON, a charset or a format of images that is not read":
      "不是表单或 JSON，或字符集、图片格式不受支持",
    "a damaged image, or a strip": "图片已损坏，或长宽比过大",
    "the worker or the network failed on this batch": "工作进程或网络处理这一批图片时出错",
    "busy, or the network is not loaded; Retry-After gives the time to come back":
      "服务器繁忙，或网络尚未加载；重试时间见 Retry-After",
    "no answer in time": "未在规定时间内给出结果",
    "the network is not loaded, or the server drains": "网络尚未加载，或服务器正在关闭",
    "Prometheus' text": "Prometheus 文本格式",
  },
};

const STORED = "ppcls_light.language";
const values = new WeakMap(); // of the nodes whose text has some

function preferredLanguage() {
  try {
    const stored = localStorage.getItem(STORED);
    if (stored in TEXTS) return stored;
  } catch {
    // storage is forbidden: the browser's languages decide
  }
  const languages = navigator.languages.map((tag) => tag.toLowerCase().split("-")[0]);
  return languages.find((name) => name in TEXTS) ?? "en";
}

let language = preferredLanguage();

function text(key, given = {}) {
  return TEXTS[language][key].replace(/\{(\w+)\}/g, (_, name) => given[name]);
}

function translated(sentence) {
  return OPENAPI[language][sentence] ?? sentence;
}

// Show the text `key` in `node`, in whatever language is chosen, now and later. Values may be functions.
function say(node, key, given = {}) {
  node.dataset.text = key;
  values.set(node, given);
  const now = Object.entries(given).map(([name, value]) => [name, typeof value === "function" ? value() : value]);
  const shown = text(key, Object.fromEntries(now));
  if (node.tagName === "IMG") node.alt = shown;
  else node.textContent = shown;
}

function sayAll() {
  document.documentElement.lang = TEXTS[language].lang;
  for (const node of document.querySelectorAll("[data-text]")) say(node, node.dataset.text, values.get(node));
  document.getElementById("language").lang = language === "en" ? "zh-CN" : "en";
}

document.getElementById("language").addEventListener("click", () => {
  language = language === "en" ? "zh" : "en";
  try {
    localStorage.setItem(STORED, language);
  } catch {
    // it holds for this page
  }
  sayAll();
});
sayAll();

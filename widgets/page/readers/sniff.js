// Which kind of file this is, recognized by its first bytes, since suffixes may be wrong or missing.

import { leadName } from "./channels.js";
import { ReadError } from "./phrase.js";
import { headOf } from "./table.js";
import { decoded, isUTF16 } from "./text.js";
import { tables } from "./tables.js";
import { isWatch } from "./watch.js";
import { rootTag } from "./xml.js";

const [HEAD, XML_HEAD, TEXT_HEAD] = tables.head_bytes;
const BINARY_STARTS = [
  [/^\x93NUMPY|^PK\x03\x04[^]{26}[^\0]{1,200}?\.npy/, "NumPy"],
  [/^0 {7}[^]{176}\d[\d ]{7}/, "EDF"],
  [/^\xffBIOSEMI/, "BDF"],
  [/^MATLAB 5/, "MATLAB"],
  [/^[^]{128}DICM/, "DICOM"],
  // DICOM whose first 132 bytes, or whose header as well, are missing.
  [/^(?:\x02\0[\0-\x10]\0(?:UL|OB|UI)|\x08\0[\x05\x08\x12-\x18]\0(?:(?:CS|UI|DA|TM)[^\0]\0|[^\0]\0\0\0)[\w.\\]{2})/, "DICOM"],
  [/^ISHNE1\.0/, "ISHNE"],
  [/^[^]{8}\0\0[^]{12}\0\0[^]{4}\x07\0\0\0/, "SCP-ECG"],
  [/^[^]{2}MFR /, "MFER"],
];

// The kind of a File by its content: one that is read here, one of the others, "XML" for any other XML, or null.
export async function kindOf(file) {
  const bytes = new Uint8Array(await file.slice(0, XML_HEAD + HEAD).arrayBuffer());
  const head = bytes.subarray(0, HEAD);
  const latin = String.fromCharCode(...head);
  const text = latin.replace(/^[\t-\r ]+/, "").replace(/^\xef\xbb\xbf/, "");
  if (/^(?:<|\xff\xfe<\0|\xfe\xff\0<|\0<)/.test(text)) {
    const tag = rootTag(head) || rootTag(bytes);
    return tables.xml_kinds[tag] ?? tables.unread_xml_roots[tag.split("}").at(-1)] ?? "XML";
  }
  const unread = Object.entries(tables.unread_starts).find(([hex]) => latin.startsWith(latinOf(hex)));
  const binary = BINARY_STARTS.find(([start]) => start.test(latin));
  if (binary ?? unread) return binary ? binary[1] : unread[1];
  const isLong = head[0] === 0x23 || isUTF16(head); // comments before a table, or two bytes a letter
  return textKind(isLong ? bytes.subarray(0, HEAD + TEXT_HEAD) : head);
}

function latinOf(hex) {
  return hex.replace(/../g, (byte) => String.fromCharCode(parseInt(byte, 16)));
}

// "CSV" for a text whose first row names one of the twelve leads and whose next row begins with a value.
function textKind(bytes) {
  const text = decodedHead(bytes);
  if (text.includes("\0")) return null;
  const lines = text.split(/\r\n?|\n/);
  if (isWatch(lines)) return "Apple Watch CSV";
  try {
    const head = headOf(lines);
    // A sentence may begin with "I, ...", but no row of numbers follows it.
    const isValue = /^(?:[\s"'\d.,;+-]|nan|$)/i.test(lines[head.lines] ?? "");
    return isValue && head.columns.some(leadName) ? "CSV" : null;
  } catch (error) {
    if (error instanceof ReadError) return null;
    throw error;
  }
}

// As `decoded`, but the last letter may be cut.
function decodedHead(bytes) {
  if (isUTF16(bytes)) return decoded(bytes);
  for (let cut = 0; cut < 4; cut++) {
    try {
      return new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(0, bytes.length - cut));
    } catch {
      // It is cut within a letter, or is not UTF-8.
    }
  }
  return decoded(bytes);
}

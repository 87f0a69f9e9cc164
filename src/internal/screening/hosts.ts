/**
 * Hosts that are spelled to be taken for others.
 *
 * A label is refused where
 *
 * - it mixes scripts beyond the "moderately restrictive" level of UTS #39, 5.2: Latin with the scripts of
 *   Japanese, Chinese or Korean, or with one other recommended script that is neither Cyrillic nor Greek;
 * - it mixes Latin with a letter of another script that looks like a Latin one (UTS #39, 4);
 * - all of its letters are of one other script and look like Latin ones, unless the top level domain is of
 *   that script (the rule that Chromium shows such names as punycode by);
 * - it holds a letter of Latin script that looks like an ASCII one, or a sign that looks like a part of a
 *   URL.
 *
 * Names in ASCII that are merely alike (`examp1e.com`, `rnicrosoft.com`), or differ in an accent, are not
 * found.
 */
import * as Hosts from "../hosts.ts"
import { pattern } from "../lazily.ts"

/**
 * Whether a text names such a host: in a URL, as a bare host, as an e-mail address, or because it is said to
 * be a host.
 */
export const names = (text: string, isHost: boolean): boolean => {
  if (!/[^\0-\x7f]|xn--|%[c-f][0-9a-f]/i.test(text)) return false
  const url = Hosts.firstRefused(text, imitates)
  if (url === Hosts.unreadable) {
    // What cannot be read ends the search, and may stand before what can.
    if (text.split(/\s+/).some((word) => isImitation(Hosts.firstRefused(word, imitates)))) return true
  } else if (url !== undefined) return true
  const mail = /^[^\s@]{1,64}@([^\s@]{1,255})$/.exec(text)?.[1]
  const host = isHost
    ? Hosts.fieldHost(text)
    : mail !== undefined
      ? Hosts.normalize(mail)
      : Hosts.bareHost(text)
  return host !== undefined && imitates(host)
}

const isImitation = (host: string | undefined): boolean => host !== undefined && host !== Hosts.unreadable

/** Of a host in WHATWG's form. */
const imitates = (host: string): boolean => {
  if (!host.includes("xn--")) return false
  const labels = host.split(".").map(readable)
  const top = labels.at(-1)!
  return labels.some((label) => label === undefined || isSpoof(label, top ?? ""))
}

const readable = (label: string): string | undefined =>
  label.startsWith("xn--") ? decodePunycode(label.slice(4)) : label

// --- One label -------------------------------------------------------------

/** The recommended scripts of UAX #31. */
const scripts: ReadonlyArray<readonly [string, () => RegExp]> =
  "Latn Cyrl Grek Hani Hira Kana Bopo Hang Arab Armn Beng Deva Ethi Geor Gujr Guru Hebr Knda Khmr Laoo Mlym Mymr Orya Sinh Taml Telu Thaa Thai Tibt"
    .split(" ")
    .map((script) => [script, pattern(`\\p{sc=${script}}`, "u")] as const)

const eastAsian = ["Hani Hira Kana", "Hani Bopo", "Hani Hang"].map((set) => new Set(set.split(" ")))

/** Letters of other scripts, as hosts write them, that look like one or two of Latin. */
const lookalike = pattern(
  String.raw`[аысԁеԍһіюјӏорԗԛѕԝхуъьҽпгѵѡүқԏαγηικνορτυχωϲϳհոսօցքյզւագռסוןטاهىە٥۵ဝငოიყძხ๐ทนบพ໐০०੦૦௦౦೦ഠ]|[\p{sc=Cherokee}\p{sc=Coptic}\p{sc=Lisu}\p{sc=Deseret}\p{sc=Osage}\p{sc=Osmanya}]`,
  "u"
)
const latinLookalike = pattern("[ɑɡɩɪʀʏʟʜʙɢɴᴀ-ᴢꞓꜱꜰꞯ]", "u")
/**
 * What a label consists of; letters with their marks, digits, hyphens, a few signs within words, and emoji.
 */
const ordinary = pattern(
  String.raw`^(?:[\p{L}\p{M}\p{N}_\-\u00b7\u0375\u05f3\u05f4\u30fb\p{Extended_Pictographic}]|\u200c|\u200d)*$`,
  "u"
)
/** Kana and ideographs that pass as a slash where no other stands before them. */
const slash = pattern(String.raw`(?:^|[^\p{sc=Hani}\p{sc=Hira}\p{sc=Kana}\u30fc])[ノンソゾ丶乀乁丿]`, "u")

const letterOrDigit = pattern(String.raw`[\p{L}\p{N}]`, "u")
const letterOfAScript = pattern(String.raw`(?![\p{sc=Zyyy}\p{sc=Zinh}])\p{L}`, "u")

const isSpoof = (label: string, top: string): boolean => {
  if (!ordinary().test(label) || latinLookalike().test(label) || slash().test(label)) return true
  const found = new Set<string>()
  let letters = 0
  let alike = 0
  for (const character of label) {
    if (!letterOrDigit().test(character) || /[0-9]/.test(character)) continue
    const script = scripts.find(([, kind]) => kind().test(character))?.[0]
    if (script !== undefined) found.add(script)
    else if (letterOfAScript().test(character)) found.add("other")
    letters++
    if (lookalike().test(character)) alike++
  }
  const latin = found.delete("Latn")
  if (latin && alike > 0) return true
  if (found.size === 0 || eastAsian.some((set) => [...found].every((script) => set.has(script)))) return false
  const [script] = found
  if (found.size > 1 || latin) return found.size > 1 || strict.has(script!)
  const isTop =
    label === top ? tops.has(label) : scripts.some(([name, kind]) => name === script && kind().test(top))
  return alike === letters && !isTop
}

/** Scripts that are not mixed with Latin. */
const strict = new Set(["Cyrl", "Grek", "other"])
/** Top level domains that look Latin from end to end. */
const tops = new Set(["рус", "орг", "ею"])

// --- Punycode --------------------------------------------------------------

/** RFC 3492; `undefined` for what is none. */
export const decodePunycode = (text: string): string | undefined => {
  const hyphen = text.lastIndexOf("-")
  const output = hyphen > 0 ? [...text.slice(0, hyphen)].map((character) => character.codePointAt(0)!) : []
  let code = 128
  let bias = 72
  let index = 0
  for (let at = hyphen > 0 ? hyphen + 1 : 0; at < text.length; ) {
    const before = index
    for (let weight = 1, k = 36; ; k += 36) {
      const digit = digitOf(text.charCodeAt(at++))
      if (digit === undefined) return undefined
      index += digit * weight
      const threshold = k <= bias ? 1 : k >= bias + 26 ? 26 : k - bias
      if (digit < threshold) break
      weight *= 36 - threshold
      if (weight > 0x7fffffff) return undefined
    }
    const length = output.length + 1
    bias = adapt(index - before, length, before === 0)
    code += Math.floor(index / length)
    index %= length
    if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return undefined
    output.splice(index++, 0, code)
  }
  return String.fromCodePoint(...output)
}

const digitOf = (code: number): number | undefined => {
  if (code >= 0x61 && code <= 0x7a) return code - 0x61
  if (code >= 0x41 && code <= 0x5a) return code - 0x41
  return code >= 0x30 && code <= 0x39 ? code - 0x30 + 26 : undefined
}

const adapt = (delta: number, points: number, first: boolean): number => {
  let rest = first ? Math.floor(delta / 700) : delta >> 1
  rest += Math.floor(rest / points)
  let k = 0
  for (; rest > 455; k += 36) rest = Math.floor(rest / 35)
  return k + Math.floor((36 * rest) / (rest + 38))
}
